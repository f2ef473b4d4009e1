//! Every profile, on every shape of pod, at every Pod Security level: whether `--plan` finds it admitted, and that it creates nothing.

use anyhow::{Result, anyhow, ensure};
use serde_json::Value;

use crate::cluster::LEVELS;
use crate::play::{Player, Where};

const PROFILES: [&str; 6] = ["general", "baseline", "restricted", "netadmin", "sysadmin", "legacy"];

/// By shape and level: which of [`PROFILES`] are admitted, in their order. Pod Security judges the whole pod: what offends already keeps
/// everything out.
const ADMITTED: [(&str, [&str; 3]); 6] = [
    ("plain", ["yyyyyy", "nyynny", "nnnnnn"]),
    ("user", ["yyyyyy", "nyynny", "nnnnnn"]),
    ("strict", ["yyyyyy", "nyynny", "nnynnn"]),
    ("shared", ["yyyyyy", "nyynny", "nnnnnn"]),
    ("host", ["yyyyyy", "nnnnnn", "nnnnnn"]),
    ("rich", ["yyyyyy", "nyynny", "nnnnnn"]),
];

/// What each profile sets, where it is admitted: kubectl's own, on a pod without a user.
const GRANTED: [(&str, &str); 6] = [
    ("general", r#"{"capabilities":{"add":["SYS_PTRACE"]}}"#),
    ("baseline", "null"),
    (
        "restricted",
        r#"{"allowPrivilegeEscalation":false,"capabilities":{"drop":["ALL"]},"runAsNonRoot":true,"runAsUser":65534,"seccompProfile":{"type":"RuntimeDefault"}}"#,
    ),
    ("netadmin", r#"{"capabilities":{"add":["NET_ADMIN","NET_RAW"]}}"#),
    ("sysadmin", r#"{"privileged":true}"#),
    ("legacy", "null"),
];

pub(crate) async fn check(player: &mut Player) -> Result<()> {
    for (shape, by_level) in ADMITTED {
        for (level, by_profile) in LEVELS.into_iter().zip(by_level) {
            for (profile, admitted) in PROFILES.into_iter().zip(by_profile.chars()) {
                let title = format!("profile {profile} on a {shape} pod at level {level}");
                if player.wants(&title, Where::Anywhere) {
                    let outcome = is_admitted(player, level, shape, profile, admitted == 'y').await;
                    player.note(&title, outcome);
                }
            }
            let title = format!("plans leave a {shape} pod at level {level} alone");
            if player.wants(&title, Where::Anywhere) {
                let pod = player.cluster.pod(level, shape).await?;
                let is_alone = pod["spec"]["ephemeralContainers"].is_null();
                player.note(&title, if is_alone { Ok(()) } else { Err(anyhow!("{pod}")) });
            }
        }
    }
    for (profile, granted) in GRANTED {
        let title = format!("profile {profile} sets what kubectl's sets");
        if player.wants(&title, Where::Anywhere) {
            let outcome = is_granted(player, profile, granted).await;
            player.note(&title, outcome);
        }
    }
    Ok(())
}

async fn plan(player: &Player, level: &str, shape: &str, profile: &str, code: i32) -> Result<Value> {
    let words = ["debug", shape, "--image=busybox", "--plan", "-o", "json", "--profile", profile];
    Ok(serde_json::from_str(&player.run(level, &words).await?.ended(code)?.out)?)
}

async fn is_admitted(player: &Player, level: &str, shape: &str, profile: &str, admitted: bool) -> Result<()> {
    let (code, state) = if admitted { (0, "admitted") } else { (240, "refused") };
    let plan = plan(player, level, shape, profile, code).await?;
    let first = &plan["profiles"][0];
    ensure!(first["state"] == state && first["profile"] == profile, "{first}");
    if !admitted {
        let why = first["why"].as_str().unwrap_or_default();
        ensure!(why.starts_with(&format!("refused by Pod Security level {level}:latest: ")), "{first}");
        ensure!(first["remedy"].as_str().is_some_and(|remedy| !remedy.is_empty()), "no remedy: {first}");
    }
    Ok(())
}

async fn is_granted(player: &Player, profile: &str, granted: &str) -> Result<()> {
    let plan = plan(player, "privileged", "plain", profile, 0).await?;
    let expected: Value = serde_json::from_str(granted)?;
    let found = &plan["create"]["securityContext"];
    ensure!(*found == expected, "{found} instead of {expected}");
    Ok(())
}
