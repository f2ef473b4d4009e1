//! Connections over SPDY: two streams each.

use std::sync::Arc;

use tokio::io::AsyncWriteExt;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;

use super::pairs::{Kind, Pair, Pairs, Purpose};
use super::{Ending, Forwards, one_ended};
use crate::Duplex;
use crate::spdy::{Connection, Offer, Stream};

/// Until the client goes; then what goes on is cut.
pub(super) async fn run(mut connection: Connection, forwards: &Arc<Forwards>) {
    let mut pairs = Pairs::default();
    let mut running = JoinSet::new();
    loop {
        let until = pairs.until();
        // Each arm is cancel-safe: a queue, a set of tasks, a moment.
        tokio::select! {
            offer = connection.next() => {
                let Some(offer) = offer else { return };
                if let Some(pair) = take(&mut pairs, offer).await {
                    running.spawn(carry(Arc::clone(forwards), pair));
                }
            }
            () = one_ended(&mut running), if !running.is_empty() => {}
            () = sleep_until(until.unwrap_or_else(Instant::now)), if until.is_some() => {
                for (purpose, stream) in pairs.late(Instant::now()) {
                    running.spawn(late(purpose, stream));
                }
            }
        }
    }
}

/// Takes a stream that makes sense; the pair that it completes.
async fn take(pairs: &mut Pairs<Stream>, offer: Offer) -> Option<Pair<Stream>> {
    let purpose = Purpose::of(offer.id(), offer.headers()).filter(|purpose| !pairs.has(purpose))?;
    let stream = offer.accept().await.ok()?;
    pairs.add(purpose, stream, Instant::now())
}

/// Carries one connection until both directions have ended, or the client wants no more of it. One that has broken is reset.
///
/// The stream of errors ends as soon as the pod's side does: kubectl waits for that, and only then ends its own side.
async fn carry(forwards: Arc<Forwards>, pair: Pair<Stream>) {
    let Pair { port, data, error } = pair;
    let Stream { reader, writer, reset, .. } = data;
    let mut whole = writer.clone();
    let ended = CancellationToken::new();
    let writer = Ending { writer, ended: ended.clone() };
    let duplex = Duplex { reader: Box::new(reader), writer: Box::new(writer) };
    let mut connection = std::pin::pin!(forwards.connect(port, duplex));
    // No arm is resumed after another has completed, except `connection`, which is only borrowed.
    let refused = tokio::select! {
        outcome = connection.as_mut() => outcome.err(),
        () = reset.cancelled() => None,
        () = ended.cancelled() => {
            end(error, None).await;
            tokio::select! {
                // What goes wrong now has nobody to be told.
                _outcome = connection => {}
                () = reset.cancelled() => {}
            }
            return;
        }
    };
    if refused.is_some() {
        // A client that is gone needs no end.
        let _ended_or_gone = whole.shutdown().await;
    }
    drop(whole);
    end(error, refused).await;
}

/// A stream whose other has not come.
async fn late(purpose: Purpose, stream: Stream) {
    let words = format!("(request={}) timed out waiting for streams", purpose.request);
    match purpose.kind {
        Kind::Error => end(stream, Some(words)).await,
        Kind::Data => end(stream, None).await,
    }
}

/// Ends a stream, with some last words.
async fn end(mut stream: Stream, words: Option<String>) {
    let said = async {
        stream.writer.write_all(words.unwrap_or_default().as_bytes()).await?;
        stream.writer.shutdown().await
    };
    // A client that is gone needs no words.
    let _said_or_gone = said.await;
}
