//! How a container ended, as a file for those who look at it afterwards (`/dev/remora/crashed.json`; the format is in
//! `docs/debug-on-remora.md`).

use jiff::Timestamp;
use remora_cri::ContainerStatus;
use serde::Serialize;

/// The file's name below `/dev/remora`.
pub(super) const FILE: &str = "crashed.json";

/// The file's content. Fields may be added.
#[derive(Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct CrashReport {
    container: String,
    container_id: String,
    /// How many instances were before it.
    restart_count: u32,
    image: String,
    image_id: String,
    exit_code: i32,
    reason: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    message: String,
    /// None if it never started.
    started_at: Option<String>,
    finished_at: Option<String>,
}

impl From<ContainerStatus> for CrashReport {
    fn from(status: ContainerStatus) -> Self {
        let metadata = status.metadata.unwrap_or_default();
        CrashReport {
            container: metadata.name,
            container_id: status.id,
            restart_count: metadata.attempt,
            image: status.image.unwrap_or_default().image,
            image_id: status.image_id,
            exit_code: status.exit_code,
            reason: status.reason,
            message: status.message,
            started_at: time(status.started_at),
            finished_at: time(status.finished_at),
        }
    }
}

/// RFC 3339, in UTC. CRI says 0 for "never".
fn time(nanoseconds: i64) -> Option<String> {
    let time = Timestamp::from_nanosecond(nanoseconds.into()).ok()?;
    (nanoseconds != 0).then(|| time.to_string())
}

#[cfg(test)]
mod tests {
    use remora_cri::{ContainerMetadata, ImageSpec};

    use super::*;

    #[test]
    fn the_report_says_who_ended_when_and_how() {
        let status = ContainerStatus {
            id: "abc".into(),
            metadata: Some(ContainerMetadata { name: "app".into(), attempt: 3 }),
            image: Some(ImageSpec { image: "app:1".into(), ..Default::default() }),
            image_id: "sha256:1".into(),
            exit_code: 137,
            reason: "OOMKilled".into(),
            finished_at: 1_700_000_000_500_000_000,
            ..Default::default()
        };
        let expected = serde_json::json!({
            "container": "app", "containerId": "abc", "restartCount": 3, "image": "app:1", "imageId": "sha256:1",
            "exitCode": 137, "reason": "OOMKilled", "startedAt": null, "finishedAt": "2023-11-14T22:13:20.5Z",
        });
        assert_eq!(serde_json::to_value(CrashReport::from(status)).unwrap(), expected);
    }
}
