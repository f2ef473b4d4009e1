//! The audit log of the command line: its policy, and where it goes.

use std::path::Path;
use std::time::Duration;

use remora_apiserver::audit::{Auditor, OpenError, Policy, RotatingFile, Rotation, StandardOutput, read_policy};
use remora_cli::{CommandError, UpArgs};

const MB: u64 = 1 << 20;
const DAY: Duration = Duration::from_secs(24 * 3600);
const POLICY_HINT: &str =
    "docs/audit.md shows a policy; without --audit-policy-file the log has who did what, and no bodies";
const FILE_HINT: &str = "name a file in a folder that exists with --audit-log-path, or `-` for standard output";

/// Opens the log, if one is wanted.
pub(super) fn open(args: &UpArgs) -> Result<Option<Auditor>, CommandError> {
    let Some(path) = &args.audit_log_path else { return Ok(None) };
    let policy = args.audit_policy_file.as_deref().map_or_else(|| Ok(Policy::standard()), policy)?;
    let started = if path == Path::new("-") {
        Auditor::start(policy, StandardOutput)
    } else {
        let max_bytes = args.audit_log_maxsize.checked_mul(MB).filter(|&bytes| bytes > 0);
        let max_backups = Some(args.audit_log_maxbackup).filter(|&number| number > 0);
        let max_age = Some(DAY * args.audit_log_maxage).filter(|age| !age.is_zero());
        let opened = RotatingFile::open(path, Rotation { max_bytes, max_backups, max_age });
        Auditor::start(policy, opened.map_err(|error| unopened(&error))?)
    };
    started.map(Some).map_err(|error| CommandError::caused("starting the audit log", &error))
}

fn unopened(error: &OpenError) -> CommandError {
    CommandError::caused("--audit-log-path", error).hint(FILE_HINT)
}

fn policy(path: &Path) -> Result<Policy, CommandError> {
    let place = format!("--audit-policy-file {}", path.display());
    let text = std::fs::read_to_string(path)
        .map_err(|error| CommandError::caused(&place, &error).hint("name a file that root can read"))?;
    read_policy(&text).map_err(|error| CommandError::failed(format_args!("{place}: {error}")).hint(POLICY_HINT))
}
