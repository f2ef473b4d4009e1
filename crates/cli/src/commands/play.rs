//! `remora play`: what `remora debug --record` has written, as it was.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::Args;
use remora_debug::transcript::{self, Happened};

use crate::CommandError;
use crate::output::print_raw;

/// Arguments of `remora play`. Any asciicast v2 file will do.
#[derive(Debug, Args)]
pub struct PlayArgs {
    /// The file.
    file: PathBuf,
    /// So many times as fast.
    #[arg(long, default_value_t = 1.0, value_parser = parse_speed)]
    speed: f64,
    /// Pauses are no longer than this, such as 2s.
    #[arg(long, value_name = "DURATION", value_parser = super::parse_duration)]
    idle_limit: Option<Duration>,
}

fn parse_speed(text: &str) -> Result<f64, String> {
    text.parse()
        .ok()
        .filter(|speed: &f64| speed.is_finite() && *speed > 0.0)
        .ok_or_else(|| "give a number above 0".to_owned())
}

pub(crate) async fn run(args: PlayArgs) -> Result<ExitCode, CommandError> {
    let place = args.file.display();
    let text = std::fs::read_to_string(&args.file);
    let text = text.map_err(|error| CommandError::caused(format_args!("reading {place}"), &error))?;
    let (_, events) = transcript::read(&text).map_err(|error| CommandError::caused(&place, &error))?;
    let mut shown_at = Duration::ZERO;
    for (at, happened) in events {
        tokio::time::sleep(pause(at.saturating_sub(shown_at), args.speed, args.idle_limit)).await;
        shown_at = at;
        if let Happened::Output(text) = happened {
            print_raw(text.as_bytes());
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn pause(recorded: Duration, speed: f64, limit: Option<Duration>) -> Duration {
    let limited = limit.map_or(recorded, |limit| recorded.min(limit));
    Duration::try_from_secs_f64(limited.as_secs_f64() / speed).unwrap_or(limited)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_are_as_long_as_recorded_unless_asked_otherwise() {
        let check = |recorded: u64, speed: f64, limit: Option<u64>, expected: u64| {
            let paused = pause(Duration::from_millis(recorded), speed, limit.map(Duration::from_millis));
            assert_eq!(paused, Duration::from_millis(expected));
        };
        check(500, 1.0, None, 500);
        check(500, 2.0, None, 250);
        check(9000, 1.0, Some(2000), 2000);
        check(9000, 2.0, Some(2000), 1000);
        assert!(parse_speed("0").is_err() && parse_speed("inf").is_err() && parse_speed("2.5").is_ok());
    }
}
