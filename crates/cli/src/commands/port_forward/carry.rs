//! One connection: bytes both ways between a local client and a pod.
//!
//! The API's WebSocket channels cannot tell that one side has ended. What a local client that has ended its side (or has gone: that looks
//! the same) still gets is awaited as long as it comes.

use std::io;
use std::time::Duration;

use futures::FutureExt;
use kube::api::Portforwarder;
use tokio::io::{AsyncReadExt, AsyncWriteExt, ReadHalf, WriteHalf, copy, split};
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::time::timeout;

use crate::CommandError;

const BUFFER: usize = 32 << 10;
/// How long the pod may say nothing to a client that has ended its side.
const SILENCE: Duration = Duration::from_secs(10);

/// Until the pod's side ends, or the client is gone.
pub(super) async fn carry(local: TcpStream, remote: &mut Portforwarder, port: u16) -> Result<(), CommandError> {
    let missing = || CommandError::failed(format_args!("port {port} was not opened"));
    let pod = remote.take_stream(port).ok_or_else(missing)?;
    let error = remote.take_error(port);
    let (from_pod, to_pod) = split(pod);
    let (from_client, to_client) = split(local);
    let (ended, client_ended) = watch::channel(false);
    tokio::select! {
        // A side that breaks is the end of the connection, not of the command.
        _broken = up(from_client, to_pod, ended) => {}
        _ended_or_broken = down(from_pod, to_client, client_ended) => {}
    }
    match error.and_then(|error| error.now_or_never().flatten()) {
        Some(words) => Err(CommandError::failed(words.trim_end())),
        None => Ok(()),
    }
}

/// From the client. Its end is noted, and only a break completes it: the pod's side still goes on.
async fn up<P>(mut client: ReadHalf<TcpStream>, mut pod: WriteHalf<P>, ended: watch::Sender<bool>) -> io::Result<()>
where
    WriteHalf<P>: AsyncWriteExt + Unpin,
{
    copy(&mut client, &mut pod).await?;
    ended.send_replace(true);
    std::future::pending().await
}

/// From the pod, to its end.
async fn down<P>(
    mut pod: ReadHalf<P>,
    mut client: WriteHalf<TcpStream>,
    mut client_ended: watch::Receiver<bool>,
) -> io::Result<()>
where
    ReadHalf<P>: AsyncReadExt + Unpin,
{
    let mut buffer = vec![0; BUFFER];
    loop {
        let length = if *client_ended.borrow() {
            timeout(SILENCE, pod.read(&mut buffer)).await.unwrap_or(Ok(0))?
        } else {
            // Both arms are cancel-safe by tokio's documentation.
            tokio::select! {
                length = pod.read(&mut buffer) => length?,
                _changed = client_ended.changed() => continue,
            }
        };
        if length == 0 {
            return client.shutdown().await;
        }
        client.write_all(&buffer[..length]).await?;
    }
}
