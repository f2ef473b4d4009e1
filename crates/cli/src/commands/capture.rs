//! `remora capture`: the packets of a pod's network, by tcpdump in a debug container, as a file or a stream for Wireshark.
//!
//! **Invariant:** what is written is whole at every moment: tcpdump's stream is passed on packet by packet, and ends between two.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use clap::Args;
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Status;
use kube::Api;
use kube::api::{AttachParams, AttachedProcess};
use remora_debug::capture::{CaptureRequest, Packets};
use remora_debug::{DebugRequest, Profile, Tools, User};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

use super::debug::facts::Known;
use super::debug::find;
use super::exec::default_container;
use super::{parse_duration, parse_size};
use crate::beside::{Beside, BesideArgs};
use crate::cluster::Cluster;
use crate::{ClusterArgs, CommandError, Kind, program, terminal};

const NOTES: &str = "\
Examples:
  remora capture web -w web.pcap                       until Ctrl-C
  remora capture web tcp port 80 | wireshark -k -i -
  remora capture deploy/web -i eth0 --duration=1m --max-size=100Mi -w web.pcap 'host 10.0.0.7'

The filter is pcap-filter(7)'s. It needs tcpdump in the debug container's image and the capability NET_RAW: profile netadmin, else what the
node gives by itself to root. On Ctrl-C the file is whole, and the debug container ends with the command.";

/// How long tcpdump may take to say what it has seen.
const LAST_WORDS: Duration = Duration::from_secs(3);
const BUFFER: usize = 256 << 10;
/// So much of what tcpdump says is kept.
const MAX_SAID: u64 = 16 << 10;

/// Arguments of `remora capture`.
#[derive(Debug, Args)]
#[command(after_help = NOTES)]
pub struct CaptureArgs {
    /// The pod: `web`, or whatever has pods: `deploy/web`.
    #[arg(value_name = "POD | TYPE/NAME")]
    pod: String,
    /// Which packets [default: all].
    #[arg(trailing_var_arg = true)]
    filter: Vec<String>,
    /// The interface; `any` is all of them.
    #[arg(long, short, value_name = "IFACE", default_value = "any")]
    interface: String,
    /// The file, in pcap's format; `-` is standard output.
    #[arg(long, short, value_name = "FILE", default_value = "-")]
    write: PathBuf,
    /// End after so long, such as 30s or 5m.
    #[arg(long, value_name = "DURATION", value_parser = parse_duration)]
    duration: Option<Duration>,
    /// End after so many packets.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    count: Option<u64>,
    /// End before the file becomes larger than this, in bytes or with Ki, Mi, Gi, Ti.
    #[arg(long, value_name = "SIZE", value_parser = parse_size)]
    max_size: Option<u64>,
    /// So many bytes of each packet [default: all].
    #[arg(long, short, value_name = "BYTES", value_parser = clap::value_parser!(u32).range(1..=262_144))]
    snapshot_length: Option<u32>,
    #[command(flatten)]
    beside: BesideArgs,
}

pub(crate) async fn run(cluster: &ClusterArgs, args: CaptureArgs) -> Result<ExitCode, CommandError> {
    let to_stdout = args.write.as_os_str() == "-";
    if to_stdout && terminal::stdout_is_terminal() {
        return Err(CommandError::usage("packets are nothing for a terminal").hint("-w FILE, or | wireshark -k -i -"));
    }
    let cluster = Cluster::connect(cluster).await?;
    let pod = find::pod(&cluster, &args.pod).await?;
    let name = pod.metadata.name.clone().unwrap_or_default();
    // One of them, to stand beside: the network is the whole pod's.
    let target = default_container(&pod, &name)?;
    let known = args.beside.known(&cluster, &pod, Tools::Capture).await?;
    // An entry stays for good: a file that cannot be written is told before there is one.
    let is_new = !to_stdout && !args.write.exists();
    let mut to = open(&args.write).await?;
    let captured = async {
        let beside = stand(&cluster, &pod, &target, &known, &args).await?;
        let pods = cluster.api::<Pod>();
        let captured = capture(&pods, &name, &beside, &args, &mut to).await;
        beside.leave(Some(i32::from(captured.is_err()))).await;
        captured
    };
    let captured = captured.await;
    if captured.is_err() && is_new && args.write.metadata().is_ok_and(|file| file.len() == 0) {
        // It is empty: nothing is lost if it stays.
        let _stays = std::fs::remove_file(&args.write);
    }
    let Captured { packets, bytes, said } = captured?;
    said.lines().for_each(|line| args.beside.note(line));
    let (word, size) = (if packets == 1 { "packet" } else { "packets" }, indicatif::BinaryBytes(bytes));
    args.beside.note(&format!("Captured {packets} {word}, {size}."));
    Ok(ExitCode::SUCCESS)
}

async fn open(path: &Path) -> Result<Box<dyn AsyncWrite + Unpin>, CommandError> {
    if path.as_os_str() == "-" {
        return Ok(Box::new(tokio::io::stdout()));
    }
    let file = tokio::fs::File::create(path).await;
    Ok(Box::new(file.map_err(|error| CommandError::caused(format_args!("writing {}", path.display()), &error))?))
}

/// With the right to capture; where that is refused, as root with what the node gives by itself, which on many nodes is enough.
async fn stand(
    cluster: &Cluster,
    pod: &Pod,
    target: &str,
    known: &Known,
    args: &CaptureArgs,
) -> Result<Beside, CommandError> {
    let asked = |profile, user| DebugRequest { profile: Some(profile), user, ..args.beside.request(target) };
    let best = asked(Profile::Netadmin, args.beside.user);
    let refused = match Beside::stand(cluster, pod, &best, known, &args.beside).await {
        Err(refused) if refused.kind == Kind::Refused => refused,
        stands => return stands,
    };
    args.beside.note("Profile netadmin is refused: without it, tcpdump gets what the node gives to everybody.");
    let root = Some(args.beside.user.unwrap_or(User { uid: 0, gid: None }));
    match Beside::stand(cluster, pod, &asked(Profile::Baseline, root), known, &args.beside).await {
        Err(error) if error.kind == Kind::Refused => {
            let why = format!(
                "a capture needs the capability NET_RAW (profile netadmin), which is refused: {}",
                refused.message
            );
            let hint = refused.hint.unwrap_or_else(|| "ask an administrator".to_owned());
            Err(CommandError::of(Kind::Refused, why).hint(hint))
        }
        stands => stands,
    }
}

/// What came of it.
struct Captured {
    packets: u64,
    bytes: u64,
    /// By tcpdump, of what it has seen and missed.
    said: String,
}

async fn capture(
    pods: &Api<Pod>,
    pod: &str,
    beside: &Beside,
    args: &CaptureArgs,
    to: &mut (dyn AsyncWrite + Unpin),
) -> Result<Captured, CommandError> {
    let request = CaptureRequest {
        interface: args.interface.clone(),
        count: args.count,
        snapshot: args.snapshot_length,
        filter: args.filter.clone(),
    };
    let params = AttachParams::default().container(&beside.container).stdin(true).stdout(true).stderr(true);
    let params = params.max_stdout_buf_size(BUFFER);
    let no_tcpdump = || {
        CommandError::of(Kind::CannotStart, format_args!("image {} has no tcpdump", beside.image))
            .hint("choose another with --image, such as nicolaka/netshoot")
    };
    let mut process = match pods.exec(pod, request.command(), &params).await {
        Err(kube::Error::Api(status)) if program::is_missing(&status.message) => return Err(no_tcpdump()),
        process => process?,
    };
    let stop = async {
        let duration = async {
            match args.duration {
                Some(duration) => tokio::time::sleep(duration).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! { () = duration => {}, () = terminal::told_to_end() => {} }
    };
    args.beside.note(&format!("Capturing on {} of pod {pod}; Ctrl-C ends it.", args.interface));
    let errors = process.stderr();
    let mut stream = Stream { packets: Packets::default(), bytes: 0, limit: args.max_size.unwrap_or(u64::MAX), to };
    let (carried, said) = tokio::join!(stream.carry(&mut process, stop), words(errors));
    let said = said.chars().map(|c| if c.is_control() && c != '\n' { ' ' } else { c }).collect::<String>();
    let captured = Captured { packets: stream.packets.count(), bytes: stream.bytes, said };
    match carried? {
        End::Asked => Ok(captured),
        End::Itself(status) if status.status.as_deref() == Some("Success") => Ok(captured),
        End::Itself(status) if terminal::code_of(&status) == Some(127) => Err(no_tcpdump()),
        End::Itself(_) => Err(failed(captured.said.trim())),
        End::Broken => {
            let lost = format!(
                "the connection broke off; what was captured until then is whole ({} packets)",
                captured.packets
            );
            Err(CommandError::of(Kind::Lost, lost))
        }
    }
}

/// tcpdump's own last words.
fn failed(said: &str) -> CommandError {
    let error = CommandError::failed(said);
    match said.contains("ermission") || said.contains("not permitted") {
        true => error.hint("a capture needs the capability NET_RAW: profile netadmin, which has been refused, or a node that gives it to root"),
        false => error,
    }
}

/// Why a capture has ended.
enum End {
    /// By us.
    Asked,
    /// By tcpdump.
    Itself(Box<Status>),
    Broken,
}

struct Stream<'a> {
    packets: Packets,
    bytes: u64,
    limit: u64,
    to: &'a mut (dyn AsyncWrite + Unpin),
}

impl Stream<'_> {
    /// Until tcpdump ends, or is to end: then it is told by the end of its input, and what it still has is taken.
    async fn carry(
        &mut self,
        process: &mut AttachedProcess,
        stop: impl Future<Output = ()>,
    ) -> Result<End, CommandError> {
        let (mut output, mut input, status) = (process.stdout(), process.stdin(), process.take_status());
        let status = async {
            match status {
                Some(status) => status.await,
                None => None,
            }
        };
        let mut status = std::pin::pin!(status);
        let ended = {
            let mut passed = std::pin::pin!(self.pass(&mut output));
            let mut stop = std::pin::pin!(stop);
            tokio::select! {
                passed = &mut passed => Some(passed?),
                // Cancel-safe: dropped with what is only half there, which is not written.
                () = &mut stop => None,
                // Of a broken connection only the status' sender goes: its streams would be read for ever.
                status = &mut status => match status {
                    None => return Ok(End::Broken),
                    Some(status) => {
                        passed.await?;
                        return Ok(End::Itself(Box::new(status)));
                    }
                },
            }
        };
        if let Some(Passed::ToItsEnd) = ended {
            return Ok(status.await.map_or(End::Broken, |status| End::Itself(Box::new(status))));
        }
        if let Some(input) = &mut input {
            let _gone_already = input.shutdown().await;
        }
        // What it has still to say comes soon, or never (Kubernetes before 1.30 cannot tell it of the end).
        let rest = async {
            if ended.is_none() {
                self.pass(&mut output).await?;
            } else if let Some(output) = &mut output {
                let _cut = tokio::io::copy(output, &mut tokio::io::sink()).await;
            }
            Ok::<_, CommandError>(status.await)
        };
        tokio::time::timeout(LAST_WORDS, rest).await.unwrap_or(Ok(None))?;
        process.abort();
        Ok(End::Asked)
    }

    /// Writes what becomes whole.
    async fn pass(&mut self, output: &mut Option<impl AsyncRead + Unpin>) -> Result<Passed, CommandError> {
        let Some(output) = output else { return Ok(Passed::ToItsEnd) };
        let mut buffer = vec![0; BUFFER];
        loop {
            let read = output.read(&mut buffer).await;
            let read = read.map_err(|error| CommandError::caused("reading packets", &error))?;
            if read == 0 {
                return Ok(Passed::ToItsEnd);
            }
            let whole = self.packets.whole(&buffer[..read], self.limit.saturating_sub(self.bytes));
            let whole = whole.map_err(CommandError::failed)?;
            let written = async {
                self.to.write_all(&whole.bytes).await?;
                self.to.flush().await
            };
            match written.await {
                // Who has read has seen enough: Wireshark was closed.
                Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => return Ok(Passed::Enough),
                written => written.map_err(|error| CommandError::caused("writing packets", &error))?,
            }
            self.bytes += whole.bytes.len() as u64;
            if whole.is_full {
                return Ok(Passed::Enough);
            }
        }
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Passed {
    ToItsEnd,
    /// Nothing more is wanted.
    Enough,
}

async fn words(errors: Option<impl AsyncRead + Unpin>) -> String {
    let mut said = Vec::new();
    if let Some(mut errors) = errors {
        // Cut off, not failed: what was said until then is what is known.
        let _cut = (&mut errors).take(MAX_SAID).read_to_end(&mut said).await;
        let _rest = tokio::io::copy(&mut errors, &mut tokio::io::sink()).await;
    }
    String::from_utf8_lossy(&said).into_owned()
}
