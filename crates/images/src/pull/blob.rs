//! Brings one blob to a file, checked, through mirrors and broken connections.

use std::path::{Path, PathBuf};

use http::{Method, StatusCode};
use tokio::fs::File;
use tokio::io::AsyncWriteExt;

use super::answer::{self, TransferError};
use super::client::{self, Client, Target};
use crate::digest::Hasher;
use crate::error::FetchError;
use crate::manifest::Descriptor;

/// How often a broken transfer is taken up again on one endpoint. Each time at least one byte has to have come.
const MAX_RESUMES: usize = 10;

/// A downloaded blob; the file goes when this is dropped.
#[derive(Debug)]
pub(crate) struct BlobFile(pub(crate) PathBuf);

impl Drop for BlobFile {
    fn drop(&mut self) {
        match std::fs::remove_file(&self.0) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                tracing::warn!(path = %self.0.display(), %error, "left until the store is opened again");
            }
            _ => {}
        }
    }
}

/// Fetches a blob to `path` and checks size and digest. `report` is told how many bytes are here, which may fall.
pub(crate) async fn fetch_blob(
    client: &Client,
    targets: &[Target],
    blob: &Descriptor,
    path: PathBuf,
    report: impl Fn(u64),
) -> Result<BlobFile, FetchError> {
    let mut first = None;
    let file = BlobFile(path);
    for target in targets {
        match from_endpoint(client, target, blob, &file.0, &report).await {
            Ok(()) => return Ok(file),
            // A disk that is full is full for all endpoints.
            Err(error @ FetchError::Io { .. }) => return Err(error),
            Err(error) => drop(first.get_or_insert(error)),
        }
    }
    let nowhere = || TransferError::NotFound { url: blob.digest.to_string() }.into();
    Err(first.unwrap_or_else(nowhere))
}

async fn from_endpoint(
    client: &Client,
    target: &Target,
    blob: &Descriptor,
    path: &Path,
    report: &impl Fn(u64),
) -> Result<(), FetchError> {
    let file = create(path)?;
    let mut ingest = Ingest { file, hasher: Hasher::default(), have: 0, blob, path };
    let mut resumes = 0;
    loop {
        let before = ingest.have;
        match ingest.read_on(client, target, report).await {
            Ok(()) => return ingest.finish().await,
            Err(FetchError::Transfer(TransferError::Request { .. }))
                if ingest.have > before && resumes < MAX_RESUMES =>
            {
                resumes += 1;
                tracing::debug!(blob = %blob.digest, have = ingest.have, "transfer broke, taken up again");
            }
            Err(error) => return Err(error),
        }
    }
}

/// At once, not on a blocking thread: a pull that is dropped meanwhile could not remove the file.
fn create(path: &Path) -> Result<File, FetchError> {
    let file = std::fs::File::create(path).map_err(FetchError::io(format!("write {}", path.display())))?;
    Ok(File::from_std(file))
}

struct Ingest<'a> {
    file: File,
    hasher: Hasher,
    have: u64,
    blob: &'a Descriptor,
    path: &'a Path,
}

impl Ingest<'_> {
    /// Reads from where it is to the end.
    async fn read_on(&mut self, client: &Client, target: &Target, report: &impl Fn(u64)) -> Result<(), FetchError> {
        let url = target.url(&format!("blobs/{}", self.blob.digest));
        let range = (self.have > 0).then(|| client::range_from(self.have));
        let response = client.ask(Method::GET, target, &url, range.as_slice()).await?;
        let response = answer::expect(response, &Method::GET, &url, &[StatusCode::OK, StatusCode::PARTIAL_CONTENT])?;
        if self.have > 0 && response.status() == StatusCode::OK {
            self.start_over().await?;
        }
        if let Some(length) = answer::content_length(&response) {
            self.check_size(self.have + length)?;
        }
        let mut body = response.into_body();
        while let Some(piece) = answer::next_piece(&mut body, &Method::GET, &url).await? {
            self.check_size(self.have + piece.len() as u64)?;
            self.hasher.update(&piece);
            self.file.write_all(&piece).await.map_err(FetchError::io(self.writing()))?;
            self.have += piece.len() as u64;
            report(self.have);
        }
        match self.have < self.blob.size {
            true => Err(TransferError::Request { method: "Get".into(), url, problem: "unexpected EOF".into() }.into()),
            false => Ok(()),
        }
    }

    /// The server does not know ranges.
    async fn start_over(&mut self) -> Result<(), FetchError> {
        self.file = create(self.path)?;
        self.hasher = Hasher::default();
        self.have = 0;
        Ok(())
    }

    fn check_size(&self, size: u64) -> Result<(), FetchError> {
        match size > self.blob.size {
            true => Err(FetchError::Size { blob: self.blob.digest, actual: size, expected: self.blob.size }),
            false => Ok(()),
        }
    }

    async fn finish(mut self) -> Result<(), FetchError> {
        self.file.flush().await.map_err(FetchError::io(self.writing()))?;
        let actual = self.hasher.finish();
        match actual == self.blob.digest {
            true => Ok(()),
            false => Err(FetchError::Digest { actual, expected: self.blob.digest }),
        }
    }

    fn writing(&self) -> String {
        format!("write {}", self.path.display())
    }
}
