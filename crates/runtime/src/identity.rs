//! Ids, names and the clock.

use std::fs::File;
use std::io::Read;
use std::time::{SystemTime, UNIX_EPOCH};

use remora_cri::{ContainerMetadata, PodSandboxMetadata};

use crate::Error;
use crate::error::failed;

/// 64 random hexadecimal digits, as other runtimes' ids.
pub(crate) fn new_id() -> Result<String, Error> {
    const SOURCE: &str = "/dev/urandom";
    let mut bytes = [0; 32];
    File::open(SOURCE).and_then(|mut file| file.read_exact(&mut bytes)).map_err(failed("read", SOURCE))?;
    Ok(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
}

/// Nanoseconds since the Unix epoch.
pub(crate) fn now() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_nanos()).unwrap_or(i64::MAX)
}

/// The name that no two sandboxes have at once: a pod's attempts are told apart.
pub(crate) fn sandbox_name(metadata: &PodSandboxMetadata) -> String {
    format!("{}_{}_{}_{}", metadata.name, metadata.namespace, metadata.uid, metadata.attempt)
}

/// Likewise for containers.
pub(crate) fn container_name(container: &ContainerMetadata, sandbox: &PodSandboxMetadata) -> String {
    let (pod, namespace, uid) = (&sandbox.name, &sandbox.namespace, &sandbox.uid);
    format!("{}_{pod}_{namespace}_{uid}_{}", container.name, container.attempt)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_64_hexadecimal_digits_and_differ() {
        let (first, second) = (new_id().unwrap(), new_id().unwrap());
        assert_ne!(first, second);
        assert_eq!(first.len(), 64);
        assert!(first.chars().all(|letter| letter.is_ascii_hexdigit() && !letter.is_ascii_uppercase()));
    }
}
