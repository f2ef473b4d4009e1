//! gRPC's health checking protocol: one question, `grpc.health.v1.Health/Check`.

use std::time::Duration;

use http::uri::PathAndQuery;
use remora_http::client::{Http2, authority};
use tokio::time::{Instant, timeout_at};
use tonic::client::Grpc;
use tonic::metadata::MetadataValue;
use tonic::{Code, Request, Status};
use tonic_prost::ProstCodec;

use super::dial;

/// A health answer is a number.
const MOST_BYTES: usize = 4096;

#[derive(Clone, PartialEq, prost::Message)]
struct HealthCheckRequest {
    #[prost(string, tag = "1")]
    service: String,
}

#[derive(Clone, PartialEq, prost::Message)]
struct HealthCheckResponse {
    #[prost(enumeration = "ServingStatus", tag = "1")]
    status: i32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, prost::Enumeration)]
#[repr(i32)]
enum ServingStatus {
    Unknown = 0,
    Serving = 1,
    NotServing = 2,
    ServiceUnknown = 3,
}

/// Asks once.
pub(super) async fn check(host: &str, port: u16, service: &str, limit: Duration) -> Result<(), String> {
    let (at, until) = (authority(host, port), Instant::now() + limit);
    let tcp = dial(host, port, limit)
        .await
        .map_err(|error| format!("error: failed to connect service at {at:?}: {error}"))?;
    let late = |_| format!("timeout: health rpc did not complete within {limit:?}");
    let http2 = timeout_at(until, Http2::new(tcp)).await.map_err(late)?;
    let http2 = http2.map_err(|error| format!("error: failed to connect service at {at:?}: {error}"))?;
    let answer = timeout_at(until, ask(http2, &at, service)).await.map_err(late)?;
    match answer.map_err(|status| in_words(&status, limit))? {
        ServingStatus::Serving => Ok(()),
        other => Err(format!("service unhealthy (responded with {:?})", name(other))),
    }
}

async fn ask(http2: Http2<tonic::body::Body>, at: &str, service: &str) -> Result<ServingStatus, Status> {
    let origin = format!("http://{at}").parse().map_err(|_| Status::internal(format!("{at} is no address")))?;
    let mut grpc = Grpc::with_origin(http2, origin).max_decoding_message_size(MOST_BYTES);
    let mut request = Request::new(HealthCheckRequest { service: service.to_owned() });
    request.metadata_mut().insert("user-agent", MetadataValue::from_static(super::http_get::PROBE));
    grpc.ready().await.map_err(|error| Status::unavailable(error.to_string()))?;
    let path = PathAndQuery::from_static("/grpc.health.v1.Health/Check");
    let answer = grpc.unary(request, path, ProstCodec::<_, HealthCheckResponse>::default()).await?;
    Ok(answer.into_inner().status())
}

fn in_words(status: &Status, limit: Duration) -> String {
    let said = format!("rpc error: code = {:?} desc = {}", status.code(), status.message());
    match status.code() {
        Code::Unimplemented => {
            format!("error: this server does not implement the grpc health protocol (grpc.health.v1.Health): {said}")
        }
        Code::DeadlineExceeded => format!("timeout: health rpc did not complete within {limit:?}"),
        _ => format!("error: health rpc probe failed: {said}"),
    }
}

/// As the protocol's definition has it.
fn name(status: ServingStatus) -> &'static str {
    match status {
        ServingStatus::Unknown => "UNKNOWN",
        ServingStatus::Serving => "SERVING",
        ServingStatus::NotServing => "NOT_SERVING",
        ServingStatus::ServiceUnknown => "SERVICE_UNKNOWN",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;
    use futures::stream;
    use http::{HeaderMap, HeaderValue, Response};
    use http_body_util::{BodyExt, StreamBody};
    use hyper::body::{Frame, Incoming};
    use hyper::service::service_fn;
    use hyper_util::rt::{TokioExecutor, TokioIo};
    use std::convert::Infallible;
    use tokio::net::TcpListener;

    type Frames = StreamBody<stream::Iter<std::vec::IntoIter<Result<Frame<Bytes>, Infallible>>>>;

    /// A health answer with this status, or an error with this code.
    async fn answer(request: http::Request<Incoming>, answer: Result<u8, u8>) -> Result<Response<Frames>, Infallible> {
        assert_eq!(request.uri().path(), "/grpc.health.v1.Health/Check");
        assert_eq!(request.headers()["user-agent"], "kube-probe/1.34");
        let asked = request.into_body().collect().await.unwrap().to_bytes();
        assert_eq!(&asked[..], [0, 0, 0, 0, 5, 10, 3, b'w', b'e', b'b']);
        let code = HeaderValue::from(u16::from(answer.err().unwrap_or(0)));
        let message = answer.ok().map(|status| Frame::data(Bytes::from(vec![0, 0, 0, 0, 2, 8, status])));
        let end = Frame::trailers(HeaderMap::from_iter([("grpc-status".parse().unwrap(), code)]));
        let frames: Vec<_> = message.into_iter().chain([end]).map(Ok).collect();
        let response = Response::builder().header("content-type", "application/grpc");
        Ok(response.body(StreamBody::new(stream::iter(frames))).unwrap())
    }

    async fn check_against(status: Result<u8, u8>) -> Result<(), String> {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        tokio::spawn(async move {
            let (tcp, _) = listener.accept().await.unwrap();
            let server = hyper::server::conn::http2::Builder::new(TokioExecutor::new());
            let serve = server.serve_connection(TokioIo::new(tcp), service_fn(move |request| answer(request, status)));
            // It ends when the prober has its answer.
            let _ = serve.await;
        });
        check("127.0.0.1", port, "web", Duration::from_secs(5)).await
    }

    #[tokio::test]
    async fn only_serving_is_healthy() {
        assert_eq!(check_against(Ok(1)).await, Ok(()));
        let unhealthy = "service unhealthy (responded with \"NOT_SERVING\")";
        assert_eq!(check_against(Ok(2)).await, Err(unhealthy.to_owned()));
        let said = check_against(Err(12)).await.unwrap_err();
        assert!(said.starts_with("error: this server does not implement the grpc health protocol"), "{said}");
        let said = check_against(Err(14)).await.unwrap_err();
        assert!(said.starts_with("error: health rpc probe failed: "), "{said}");
    }

    #[tokio::test]
    async fn a_port_where_nobody_listens_and_one_that_says_nothing() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let said = check("127.0.0.1", port, "", Duration::from_millis(100)).await.unwrap_err();
        assert_eq!(said, "timeout: health rpc did not complete within 100ms");
        drop(listener);
        let said = check("127.0.0.1", port, "", Duration::from_secs(1)).await.unwrap_err();
        let expected = format!(
            "error: failed to connect service at \"127.0.0.1:{port}\": dial tcp 127.0.0.1:{port}: connect: connection refused"
        );
        assert_eq!(said, expected);
    }
}
