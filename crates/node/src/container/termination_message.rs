//! The last words of a container: a file that it writes, or the end of its log.
//!
//! Source: kubernetes `pkg/kubelet/kuberuntime/kuberuntime_container.go`, `getTerminationMessage`.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use k8s_openapi::api::core::v1::Pod;
use remora_cri::{ContainerStatus, labels};

use super::log_path;
use crate::context::Context;
use crate::logs;

const MOST_BYTES: u64 = 4096;
const MOST_LOG_BYTES: u64 = 2048;
const MOST_LOG_LINES: u64 = 80;

/// The file on this machine that one run of a container sees at its `terminationMessagePath`.
pub(crate) fn file(pod_folder: &Path, container: &str, restart_count: u32) -> PathBuf {
    pod_folder.join("containers").join(container).join(restart_count.to_string())
}

/// The message of a container that has ended; none leaves the runtime's.
pub(crate) fn read(
    context: &Context,
    pod: &Pod,
    status: &ContainerStatus,
    restart_count: u32,
    exit_code: i32,
) -> Option<String> {
    let name = status.labels.get(labels::CONTAINER_NAME)?;
    let file = file(&context.pod_folder(pod), name, restart_count);
    let written = read_file(&file).filter(|text| !text.is_empty());
    let fallback = status.annotations.get(labels::TERMINATION_MESSAGE_POLICY);
    if written.is_some() || exit_code == 0 || fallback.map(String::as_str) != Some("FallbackToLogsOnError") {
        return written;
    }
    let log = context.log_folder(pod).join(log_path(name, restart_count));
    let tail = logs::last_lines(&log, MOST_LOG_LINES, MOST_LOG_BYTES);
    tail.inspect_err(|error| tracing::debug!(log = %log.display(), %error, "no last words in the log"))
        .ok()
        .filter(|text| !text.is_empty())
}

/// At most 4 KiB. A container without the file has said nothing.
fn read_file(path: &Path) -> Option<String> {
    let mut bytes = Vec::new();
    File::open(path).ok()?.take(MOST_BYTES).read_to_end(&mut bytes).ok()?;
    Some(String::from_utf8_lossy(&bytes).into_owned())
}
