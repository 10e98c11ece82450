//! The lab: real parts around the product, and everything that looks at what it did.
//!
//! The control plane (etcd, kube-apiserver, kube-controller-manager) runs on this machine; nodes,
//! clients and routers are network namespaces of one guest kernel that QEMU boots once for many
//! tests. Tests run here and reach into the guest through its init. What the product did is read
//! by other people's tools only.

pub mod accelerator;
mod api;
pub mod cache;
pub mod capture;
pub mod certificates;
pub mod clock;
pub mod cluster;
pub mod control_plane;
pub mod endpoint;
pub mod evidence;
pub mod go_tools;
pub mod guest;
pub mod guest_process;
mod kubeconfig;
pub mod lab;
pub mod netlink_capture;
pub mod oracle;
pub mod parallel;
pub mod process;
pub mod product;
pub mod program;
pub mod progress;
pub mod protocol;
pub mod root_image;
pub mod said;
pub mod scene;
pub mod settings;
pub mod shop;
pub mod snapshot;
pub mod tools;
pub mod topology;
pub mod traffic;
