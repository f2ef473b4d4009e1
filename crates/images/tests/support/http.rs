//! A web server that misbehaves as told: answers, cuts bodies, says nothing.

use std::collections::HashMap;
use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};

/// A request as it came.
#[derive(Clone, Debug)]
pub(crate) struct Request {
    pub(crate) method: String,
    pub(crate) path: String,
    pub(crate) headers: HashMap<String, String>,
}

/// What to answer.
#[derive(Clone, Debug, Default)]
pub(crate) struct Reply {
    pub(crate) status: u16,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
    /// Send only so many bytes of the body, and hang up.
    pub(crate) cut: Option<usize>,
    /// Do not hang up then, but say nothing more.
    pub(crate) holds: bool,
}

impl Reply {
    pub(crate) fn new(status: u16, body: impl Into<Vec<u8>>) -> Self {
        Reply { status, body: body.into(), ..Reply::default() }
    }

    pub(crate) fn header(mut self, name: &str, value: impl Into<String>) -> Self {
        self.headers.push((name.into(), value.into()));
        self
    }
}

/// A server on a loopback port of its own. It ends with this.
pub(crate) struct Server {
    pub(crate) address: SocketAddr,
    requests: Arc<Mutex<Vec<Request>>>,
    stopping: Arc<std::sync::atomic::AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Server {
    pub(crate) fn start(answer: impl Fn(&Request) -> Reply + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let requests = Arc::new(Mutex::new(Vec::new()));
        let stopping = Arc::new(std::sync::atomic::AtomicBool::new(false));
        let (log, stop, answer) = (requests.clone(), stopping.clone(), Arc::new(answer));
        let thread = thread::spawn(move || {
            for stream in listener.incoming() {
                if stop.load(std::sync::atomic::Ordering::SeqCst) {
                    return;
                }
                let (log, answer) = (log.clone(), answer.clone());
                // Connections end when their client does.
                thread::spawn(move || serve(stream.unwrap(), &log, answer.as_ref()));
            }
        });
        Server { address, requests, stopping, thread: Some(thread) }
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Method and path of all requests so far.
    pub(crate) fn log(&self) -> Vec<String> {
        let requests = self.requests.lock().unwrap();
        requests.iter().map(|request| format!("{} {}", request.method, request.path)).collect()
    }

    pub(crate) fn requests(&self) -> Vec<Request> {
        self.requests.lock().unwrap().clone()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stopping.store(true, std::sync::atomic::Ordering::SeqCst);
        let _ = TcpStream::connect(self.address);
        if let Some(thread) = self.thread.take() {
            thread.join().unwrap();
        }
    }
}

fn serve(stream: TcpStream, log: &Mutex<Vec<Request>>, answer: &dyn Fn(&Request) -> Reply) {
    let mut reader = BufReader::new(stream.try_clone().unwrap());
    while let Some(request) = read_request(&mut reader) {
        log.lock().unwrap().push(request.clone());
        let reply = answer(&request);
        if !write_reply(&stream, &request, &reply) {
            return;
        }
        if reply.holds {
            let mut line = String::new();
            let _ = reader.read_line(&mut line);
            return;
        }
    }
}

fn read_request(reader: &mut BufReader<TcpStream>) -> Option<Request> {
    let mut line = String::new();
    reader.read_line(&mut line).ok().filter(|count| *count > 0)?;
    let mut words = line.split_whitespace();
    let (method, path) = (words.next()?.to_owned(), words.next()?.to_owned());
    let mut headers = HashMap::new();
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).ok()?;
        let Some((name, value)) = line.trim().split_once(':') else { break };
        headers.insert(name.to_ascii_lowercase(), value.trim().to_owned());
    }
    Some(Request { method, path, headers })
}

/// Whether the connection goes on.
fn write_reply(mut stream: &TcpStream, request: &Request, reply: &Reply) -> bool {
    let mut head = format!("HTTP/1.1 {} X\r\nContent-Length: {}\r\n", reply.status, reply.body.len());
    for (name, value) in &reply.headers {
        head.push_str(&format!("{name}: {value}\r\n"));
    }
    head.push_str("\r\n");
    let body = match (request.method.as_str(), reply.cut) {
        ("HEAD", _) => &[][..],
        (_, Some(length)) => &reply.body[..length],
        (_, None) => &reply.body,
    };
    let sent = stream.write_all(head.as_bytes()).and_then(|()| stream.write_all(body));
    let goes_on = sent.is_ok() && (reply.cut.is_none() || reply.holds);
    if !goes_on {
        let _ = stream.shutdown(std::net::Shutdown::Both);
    }
    goes_on
}

/// A registry with one image, from memory: manifest, config and layers by their digests.
pub(crate) fn registry_of(image: &TestImage) -> impl Fn(&Request) -> Reply + Send + Sync + 'static + use<> {
    let image = image.clone();
    move |request| {
        let path = request.path.split('?').next().unwrap_or_default();
        let name = path.rsplit('/').next().unwrap_or_default();
        if path.contains("/manifests/") {
            let digest = remora_images::Digest::of(&image.manifest).to_string();
            return match name == digest || name == "latest" {
                true => Reply::new(200, image.manifest.clone())
                    .header("Content-Type", "application/vnd.oci.image.manifest.v1+json")
                    .header("Docker-Content-Digest", digest),
                false => Reply::new(404, "{}"),
            };
        }
        match image.blobs.get(name) {
            Some(blob) => ranged(request, blob),
            None => Reply::new(404, "{}"),
        }
    }
}

/// Answers a range request as a server that knows them.
pub(crate) fn ranged(request: &Request, blob: &[u8]) -> Reply {
    let from = request
        .headers
        .get("range")
        .and_then(|range| range.strip_prefix("bytes=")?.strip_suffix('-')?.parse::<usize>().ok());
    match from {
        Some(from) => Reply::new(206, &blob[from..]),
        None => Reply::new(200, blob),
    }
}

/// An image as a registry has it.
#[derive(Clone)]
pub(crate) struct TestImage {
    pub(crate) manifest: Vec<u8>,
    pub(crate) blobs: HashMap<String, Vec<u8>>,
    pub(crate) layers: Vec<String>,
}

impl TestImage {
    /// Of uncompressed layers.
    pub(crate) fn new(layers: &[Vec<u8>]) -> Self {
        let config = super::config(layers);
        let describe = |kind: &str, bytes: &[u8]| {
            serde_json::json!({
                "mediaType": format!("application/vnd.oci.image.{kind}"),
                "digest": remora_images::Digest::of(bytes),
                "size": bytes.len(),
            })
        };
        let manifest = serde_json::json!({
            "schemaVersion": 2,
            "mediaType": "application/vnd.oci.image.manifest.v1+json",
            "config": describe("config.v1+json", &config),
            "layers": layers.iter().map(|layer| describe("layer.v1.tar", layer)).collect::<Vec<_>>(),
        });
        let name = |bytes: &[u8]| remora_images::Digest::of(bytes).to_string();
        let blobs = layers.iter().chain([&config]).map(|bytes| (name(bytes), bytes.clone())).collect();
        let layers = layers.iter().map(|layer| name(layer)).collect();
        TestImage { manifest: manifest.to_string().into_bytes(), blobs, layers }
    }
}
