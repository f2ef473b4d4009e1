//! `remora image`: the images of the node on this machine.

use std::io::IsTerminal;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Subcommand};
use futures::{Stream, StreamExt};
use indicatif::{DecimalBytes, HumanBytes, ProgressBar, ProgressStyle};
use tokio::io::AsyncRead;

use crate::control::client::ControlClient;
use crate::control::{ImageEntry, Progress};
use crate::output::print_line;
use crate::{CommandError, NodeDirs, table};

/// Arguments of `remora image`.
#[derive(Debug, Args)]
pub struct ImageArgs {
    #[command(flatten)]
    dirs: NodeDirs,
    #[command(subcommand)]
    command: ImageCommand,
}

#[derive(Debug, Subcommand)]
enum ImageCommand {
    /// Import images from an archive: `docker save`'s, or an OCI layout.
    Import {
        /// The archive; `-` is standard input.
        archive: PathBuf,
    },
    /// Pull an image from its registry.
    Pull {
        /// As one writes it in a pod: busybox, ghcr.io/owner/name:tag.
        image: String,
    },
    /// List the images.
    Ls {
        /// Print ids only.
        #[arg(long, short)]
        quiet: bool,
    },
    /// Remove images. Containers that run keep what they need.
    Rm {
        /// Names or ids.
        #[arg(required = true)]
        images: Vec<String>,
    },
}

pub(crate) async fn run(args: ImageArgs) -> Result<ExitCode, CommandError> {
    let node = ControlClient::new(&args.dirs.run_dir);
    match args.command {
        ImageCommand::Import { archive } => follow(node.import(open(&archive).await?).await?).await,
        ImageCommand::Pull { image } => follow(node.pull(&image).await?).await,
        ImageCommand::Ls { quiet } => {
            print_images(&node.images().await?, quiet);
            Ok(ExitCode::SUCCESS)
        }
        ImageCommand::Rm { images } => {
            for image in images {
                node.remove_image(&image).await?;
                print_line(format_args!("removed {image}"));
            }
            Ok(ExitCode::SUCCESS)
        }
    }
}

async fn open(archive: &std::path::Path) -> Result<Box<dyn AsyncRead + Send + Sync + Unpin>, CommandError> {
    if archive.as_os_str() == "-" {
        return Ok(Box::new(tokio::io::stdin()));
    }
    let file = tokio::fs::File::open(archive).await;
    let file = file.map_err(|error| CommandError::caused(format_args!("opening {}", archive.display()), &error))?;
    Ok(Box::new(file))
}

/// Shows progress on a terminal, and prints each image that is complete.
async fn follow(
    mut progress: impl Stream<Item = Result<Progress, CommandError>> + Unpin,
) -> Result<ExitCode, CommandError> {
    let bar = bar();
    while let Some(line) = progress.next().await {
        match line? {
            Progress::Bytes { done, total } => {
                bar.set_length(total);
                bar.set_position(done);
            }
            Progress::Done { name, id } => bar.suspend(|| print_line(format_args!("{name} {id}"))),
            Progress::Failed { message } => {
                bar.finish_and_clear();
                return Err(CommandError::failed(message));
            }
        }
    }
    bar.finish_and_clear();
    Ok(ExitCode::SUCCESS)
}

fn bar() -> ProgressBar {
    if !std::io::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let style = ProgressStyle::with_template("{bar:30} {bytes}/{total_bytes} {bytes_per_sec}")
        .unwrap_or_else(|_| ProgressStyle::default_bar());
    ProgressBar::new(0).with_style(style)
}

fn print_images(images: &[ImageEntry], quiet: bool) {
    if quiet {
        images.iter().for_each(|image| print_line(&image.id));
        return;
    }
    let headers = ["image", "id", "size"].map(str::to_owned);
    let mut rows: Vec<Vec<String>> = images.iter().flat_map(rows).collect();
    rows.sort();
    table::render(Some(&headers), &rows).iter().for_each(print_line);
}

fn rows(image: &ImageEntry) -> Vec<Vec<String>> {
    let id: String = image.id.trim_start_matches("sha256:").chars().take(12).collect();
    let size =
        if image.size < 1_000_000 { HumanBytes(image.size).to_string() } else { DecimalBytes(image.size).to_string() };
    let names = if image.tags.is_empty() { &image.digests } else { &image.tags };
    let unnamed = ["<none>".to_owned()];
    let names = if names.is_empty() { &unnamed[..] } else { names };
    names.iter().map(|name| vec![name.clone(), id.clone(), size.clone()]).collect()
}
