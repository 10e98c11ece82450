use super::*;
use crate::state::Knob;

fn sysctl(interface: &str) -> Sysctl {
    Sysctl::on(interface, Knob::ArpIgnore)
}

fn folder() -> (tempfile::TempDir, SysctlFolder) {
    let root = tempfile::tempdir().unwrap();
    for interface in ["all", "eth0"] {
        let conf = root.path().join("ipv4/conf").join(interface);
        fs::create_dir_all(&conf).unwrap();
        fs::write(conf.join("arp_ignore"), "0\n").unwrap();
    }
    let sysctls = SysctlFolder::new(root.path().to_owned());
    (root, sysctls)
}

#[test]
fn a_value_is_written_and_read() {
    let (_root, sysctls) = folder();
    assert_eq!(sysctls.write(&sysctl("eth0"), 2), Ok(()));
    assert_eq!(sysctls.read(&sysctl("eth0")), Ok(Some(2)));
    assert_eq!(sysctls.read(&sysctl("all")), Ok(Some(0)));
}

#[test]
fn an_interface_that_is_gone_is_told_from_a_folder_that_is_not_there() {
    let (root, sysctls) = folder();
    assert_eq!(sysctls.read(&sysctl("eth1")), Ok(None));
    assert_eq!(
        sysctls.write(&sysctl("eth1"), 1),
        Err(KernelError::NoInterface {
            interface: "eth1".to_owned()
        })
    );
    assert!(!root.path().join("ipv4/conf/eth1").exists());
    let elsewhere = SysctlFolder::new(root.path().join("nowhere"));
    assert!(matches!(
        elsewhere.read(&sysctl("eth0")),
        Err(KernelError::File { path: _, reason: _ })
    ));
}

#[test]
fn no_interface_name_leads_out_of_the_folder() {
    let (root, sysctls) = folder();
    fs::write(root.path().join("arp_ignore"), "0\n").unwrap();
    for name in ["", ".", "..", "../..", "eth0/../../.."] {
        assert!(sysctls.read(&sysctl(name)).is_err(), "{name:?}");
        assert!(sysctls.write(&sysctl(name), 1).is_err(), "{name:?}");
    }
    assert_eq!(fs::read_to_string(root.path().join("arp_ignore")).unwrap(), "0\n");
}
