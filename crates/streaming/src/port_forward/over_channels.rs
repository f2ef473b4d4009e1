//! One connection for each port, over the channels of a WebSocket connection: channel 2n is the data of the n-th port, 2n + 1 how it
//! failed. The first message on each is the port, two bytes, the lower first. Source of the rules: upstream's
//! `portforward/websocket.go`. The Python client speaks it.
//!
//! A channel has no end: a connection ends when the pod's side does.

use std::sync::Arc;

use bytes::Bytes;
use futures::stream::SplitStream;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_util::sync::CancellationToken;

use super::{Ending, Forwards, one_ended};
use crate::session::{carry, next_message, socket};
use crate::stdio::{Input, InputReader, Output, OutputWriter};
use crate::{Duplex, protocol};

/// Messages of a port that wait for the pod to read.
const INPUTS: usize = 1;
/// The longest message, in bytes. The Python client sends what it has read at once, a mebibyte at most, behind the channel's number.
const LONGEST_MESSAGE: usize = (1 << 20) + 1;
/// Messages that wait for the client to read.
const OUTPUTS: usize = 8;

/// Until every connection has ended, or the client goes.
pub(super) async fn run<IO>(io: IO, ports: &[u16], forwards: &Arc<Forwards>)
where
    IO: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let (outputs, send) = mpsc::channel(OUTPUTS);
    let (mut first, mut inputs, mut running) = (Vec::new(), Vec::new(), JoinSet::new());
    for (port, data) in ports.iter().zip((0..u8::MAX).step_by(2)) {
        let error = data + 1;
        first.extend([data, error].map(|channel| protocol::encode(channel, &port.to_le_bytes())));
        let (input, reader) = mpsc::channel(INPUTS);
        inputs.push(Some(input));
        let writer = |channel| OutputWriter::new(channel, outputs.clone());
        running.spawn(one(Arc::clone(forwards), *port, InputReader::new(reader), writer(data), writer(error)));
    }
    let ending = async {
        while !running.is_empty() {
            one_ended(&mut running).await;
        }
        // A client that is gone needs no close.
        let _closed_or_gone = outputs.send(Output::Last(None)).await;
        std::future::pending::<()>().await;
    };
    tokio::select! {
        // What is cut here is the connection, with all that goes on: the other arm never completes.
        _told_or_gone = carry(socket(io, LONGEST_MESSAGE).await, first, send, |stream| read(stream, inputs)) => {}
        () = ending => {}
    }
}

/// Takes the client's messages until it is gone. What it must be told if it broke the rules.
async fn read<IO>(
    mut stream: SplitStream<WebSocketStream<IO>>,
    mut inputs: Vec<Option<mpsc::Sender<Input>>>,
) -> Option<CloseCode>
where
    IO: AsyncRead + AsyncWrite + Unpin,
{
    loop {
        let mut message = match next_message(&mut stream).await? {
            Ok(message) => message,
            Err(code) => return Some(code),
        };
        if message.len() < 2 {
            continue;
        }
        let data: Bytes = message.split_off(1);
        let channel = usize::from(message[0]);
        // Nothing is expected on channels of errors, and on others than were asked for: passed over, as upstream does.
        let Some(input) = inputs.get_mut(channel / 2).filter(|_| channel.is_multiple_of(2)) else { continue };
        let taken = match &input {
            Some(sender) => sender.send(Input::Data(data)).await.is_ok(),
            None => false,
        };
        if !taken {
            *input = None;
        }
    }
}

async fn one(forwards: Arc<Forwards>, port: u16, reader: InputReader, writer: OutputWriter, mut error: OutputWriter) {
    let ended = CancellationToken::new();
    let writer = Ending { writer, ended: ended.clone() };
    let duplex = Duplex { reader: Box::new(reader), writer: Box::new(writer) };
    let end = tokio::select! {
        // What is cut here is the connection itself.
        end = forwards.connect(port, duplex) => end,
        () = ended.cancelled() => Ok(()),
    };
    if let Err(words) = end {
        // A client that is gone needs no words.
        let _said_or_gone = error.write_all(words.as_bytes()).await;
    }
}
