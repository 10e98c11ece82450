//! The lab: real parts around the product, and everything that looks at what it did.
//!
//! The control plane (etcd, kube-apiserver, kube-controller-manager) runs on this machine; nodes,
//! clients and routers are network namespaces of one guest kernel that QEMU boots once for many
//! tests. Tests run here and reach into the guest through its init. What the product did is read
//! by other people's tools only.

pub mod cache;
pub mod certificates;
pub mod clock;
pub mod control_plane;
pub mod go_tools;
pub mod guest;
pub mod guest_process;
pub mod process;
pub mod program;
pub mod progress;
pub mod protocol;
pub mod root_image;
pub mod settings;
pub mod tools;
pub mod topology;
