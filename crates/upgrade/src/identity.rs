//! Who runs this, and where: for people, and to tell whether another process still lives.

use std::path::Path;

/// True when the process `pid` of `there` has ended; certain only on the machine where it ran.
pub(crate) fn is_gone(there: &str, pid: u32) -> bool {
    !there.is_empty() && there == place() && !Path::new("/proc").join(pid.to_string()).exists()
}

/// This machine since its start, and the namespace in which process ids are counted; empty
/// where there is no way to tell.
pub(crate) fn place() -> String {
    let boot = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").ok();
    let namespace = std::fs::read_link("/proc/self/ns/pid").ok();
    match (boot, namespace) {
        (Some(boot), Some(namespace)) => format!("{} {}", boot.trim(), namespace.display()),
        _ => String::new(),
    }
}

/// `user@host`.
pub(crate) fn who() -> String {
    let user = ["USER", "LOGNAME"]
        .iter()
        .find_map(|name| std::env::var(name).ok());
    let host = std::fs::read_to_string("/proc/sys/kernel/hostname").ok();
    let host = host
        .or_else(|| std::env::var("HOSTNAME").ok())
        .unwrap_or_default();
    match (user, host.trim()) {
        (Some(user), "") => user,
        (Some(user), host) => format!("{user}@{host}"),
        (None, "") => "somebody".into(),
        (None, host) => host.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_process_of_this_machine_can_be_known_to_be_gone() {
        let here = place();
        assert!(!here.is_empty() && !is_gone(&here, std::process::id()));
        // Above the largest process id there is.
        assert!(is_gone(&here, u32::MAX));
        assert!(!is_gone("elsewhere", u32::MAX) && !is_gone("", u32::MAX));
    }
}
