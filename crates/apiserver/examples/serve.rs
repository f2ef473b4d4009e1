//! An API server alone, for trying clients on it: memory store, TLS on loopback, no controllers, a node that only echoes.
//! `serve FOLDER PORT` keeps its certificates in FOLDER and writes FOLDER/kubeconfig; it ends with its standard input.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use async_trait::async_trait;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use futures::StreamExt;
use remora_apiserver::flow::DEFAULT_MAX_IN_FLIGHT;
use remora_apiserver::{ApiServer, Config, FixedNodes};
use remora_http::pki::ServerNames;
use remora_http::{Pki, Server, TlsListener};
use remora_store::memory::MemoryEngine;
use remora_streaming::{
    Duplex, ExecOptions, LogChunks, LogOptions, PodContainer, PodName, PodStreams, SessionEnd, Stdio, StreamError,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

type AnyError = Box<dyn std::error::Error>;

#[tokio::main]
async fn main() -> Result<(), AnyError> {
    let mut args = std::env::args().skip(1);
    let folder = PathBuf::from(args.next().ok_or("usage: serve FOLDER PORT")?);
    let port: u16 = args.next().ok_or("usage: serve FOLDER PORT")?.parse()?;
    let now = SystemTime::now();
    let pki = Arc::new(Pki::open_or_create(&folder, &ServerNames::api_server("anchor", []), now)?);
    let listener = TlsListener::bind(SocketAddr::from(([127, 0, 0, 1], port)), pki.tls()?).await?;
    let admin = pki.client("admin", "kubernetes-admin", "system:masters", now)?;
    let kubeconfig = kubeconfig(pki.authority_pem(), &admin.certificate_pem, &admin.key_pem, listener.address());
    let store = Arc::new(remora_store::watched(Arc::new(MemoryEngine::new())).await?);
    let nodes = Arc::new(FixedNodes::new().with("anchor", Arc::new(Echo)));
    let api = ApiServer::new(Config {
        store,
        nodes,
        key: Arc::clone(&pki) as Arc<_>,
        audit: None,
        max_in_flight: DEFAULT_MAX_IN_FLIGHT,
    });
    api.prepare().await?;
    tokio::fs::write(folder.join("kubeconfig"), kubeconfig).await?;
    let observer = api.observer();
    let stop = async {
        let mut nothing = [0; 1];
        while matches!(tokio::io::stdin().read(&mut nothing).await, Ok(1)) {}
    };
    Server::new(api).observer(observer).tls(listener).serve(stop, Duration::from_secs(2)).await;
    Ok(())
}

fn kubeconfig(authority: &str, certificate: &str, key: &str, address: SocketAddr) -> String {
    let [authority, certificate, key] = [authority, certificate, key].map(|pem| STANDARD.encode(pem));
    format!(
        "apiVersion: v1\nkind: Config\ncurrent-context: serve\n\
         clusters: [{{name: serve, cluster: {{server: \"https://{address}\", certificate-authority-data: {authority}}}}}]\n\
         users: [{{name: admin, user: {{client-certificate-data: {certificate}, client-key-data: {key}}}}}]\n\
         contexts: [{{name: serve, context: {{cluster: serve, user: admin}}}}]\n"
    )
}

/// Says what it was asked, and gives back what it is sent.
struct Echo;

#[async_trait]
impl PodStreams for Echo {
    async fn exec(&self, _: &PodContainer, options: ExecOptions, mut stdio: Stdio) -> Result<SessionEnd, StreamError> {
        let broken = |error: std::io::Error| StreamError::Internal(error.to_string());
        if let Some(stdout) = &mut stdio.stdout {
            stdout.write_all(format!("{}\n", options.command.join(" ")).as_bytes()).await.map_err(broken)?;
            if let Some(stdin) = &mut stdio.stdin {
                tokio::io::copy(stdin, stdout).await.map_err(broken)?;
            }
        }
        Ok(SessionEnd::Exited(if options.command[0] == "false" { 1 } else { 0 }))
    }

    async fn attach(&self, at: &PodContainer, stdio: Stdio) -> Result<SessionEnd, StreamError> {
        self.exec(at, ExecOptions { command: vec!["attach".to_owned()], tty: false }, stdio).await
    }

    async fn logs(&self, at: &PodContainer, _: LogOptions) -> Result<LogChunks, StreamError> {
        let line = format!("log of {}/{}\n", at.pod, at.container);
        Ok(futures::stream::iter([Ok(Bytes::from(line))]).boxed())
    }

    async fn port_forward(&self, _: &PodName, port: u16, duplex: Duplex) -> Result<(), StreamError> {
        let broken = |error: std::io::Error| StreamError::Internal(error.to_string());
        let Duplex { mut reader, mut writer } = duplex;
        writer.write_all(format!("port {port}\n").as_bytes()).await.map_err(broken)?;
        tokio::io::copy(&mut reader, &mut writer).await.map_err(broken)?;
        writer.shutdown().await.map_err(broken)
    }
}
