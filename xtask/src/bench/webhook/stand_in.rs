//! Stands in for the API server of a management cluster: it lists the objects that it was given, by the page, and has no news
//! of them. So the webhook that is measured is the program as it runs in a cluster, watches included, with as many tenants as
//! the bench asks for.

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use anyhow::Context as _;
use serde_json::Value;

/// How long a watch without news stays open; clients end theirs after five minutes.
const WATCH: Duration = Duration::from_secs(280);

/// Objects as JSON, by the path of their collection.
pub(super) type Collections = BTreeMap<String, Vec<String>>;

/// The server; its threads end with the process.
pub(super) struct StandIn {
    address: SocketAddr,
}

impl StandIn {
    /// Serves these objects on a free port of the loopback.
    pub(super) fn start(collections: Collections) -> anyhow::Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).context("a free port")?;
        let address = listener.local_addr()?;
        let collections = Arc::new(collections);
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let collections = collections.clone();
                // A client that goes away takes its thread with it.
                thread::spawn(move || serve(&stream, &collections));
            }
        });
        Ok(Self { address })
    }

    /// A kubeconfig that leads to it.
    pub(super) fn kubeconfig(&self) -> Value {
        serde_json::json!({
            "apiVersion": "v1", "kind": "Config", "current-context": "bench",
            "clusters": [{"name": "bench", "cluster": {"server": format!("http://{}", self.address)}}],
            "users": [{"name": "bench", "user": {}}],
            "contexts": [{"name": "bench", "context": {"cluster": "bench", "user": "bench"}}],
        })
    }
}

/// Answers the requests of a connection, one after the other.
fn serve(stream: &TcpStream, collections: &Collections) -> std::io::Result<()> {
    let mut lines = BufReader::new(stream.try_clone()?).lines();
    let mut stream = stream.try_clone()?;
    loop {
        let Some(first) = lines.next().transpose()? else { return Ok(()) };
        // Headers say nothing that matters here; nobody sends a body.
        while lines.next().transpose()?.is_some_and(|line| !line.is_empty()) {}
        let target = first.split(' ').nth(1).unwrap_or_default();
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        match collections.get(path) {
            Some(_) if parameter(query, "watch") == Some("true") => {
                stream.write_all(
                    b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n",
                )?;
                stream.set_read_timeout(Some(WATCH))?;
                // Ends when the client is gone, or when it is time.
                let _ = stream.read(&mut [0; 1]);
                return stream.write_all(b"0\r\n\r\n");
            }
            Some(objects) => {
                let body = page(objects, query);
                write!(
                    stream,
                    "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
                    body.len()
                )?;
            }
            None => stream.write_all(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n")?,
        }
    }
}

/// A page of a list. The place where the next one begins is the number of objects before it.
fn page(objects: &[String], query: &str) -> String {
    let number = |name| parameter(query, name).and_then(|text| text.parse::<usize>().ok());
    let first = number("continue").unwrap_or_default().min(objects.len());
    let end = number("limit").map_or(objects.len(), |limit| objects.len().min(first.saturating_add(limit)));
    let next = if end < objects.len() { end.to_string() } else { String::new() };
    format!(
        r#"{{"apiVersion":"v1","kind":"List","metadata":{{"resourceVersion":"1","continue":"{next}"}},"items":[{}]}}"#,
        objects[first..end].join(",")
    )
}

fn parameter<'q>(query: &'q str, name: &str) -> Option<&'q str> {
    query.split('&').find_map(|pair| pair.strip_prefix(name)?.strip_prefix('='))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ask(server: &StandIn, target: &str) -> (String, Value) {
        let mut stream = TcpStream::connect(server.address).unwrap();
        write!(stream, "GET {target} HTTP/1.1\r\nHost: x\r\n\r\n").unwrap();
        stream.shutdown(std::net::Shutdown::Write).unwrap();
        let mut text = String::new();
        stream.read_to_string(&mut text).unwrap();
        let (head, body) = text.split_once("\r\n\r\n").unwrap();
        (head.lines().next().unwrap().to_owned(), serde_json::from_str(body).unwrap_or_default())
    }

    #[test]
    fn lists_by_the_page_and_leaves_nothing_out() {
        let objects = (0..5).map(|number| format!("{{\"n\":{number}}}")).collect();
        let server = StandIn::start(Collections::from([("/api/v1/things".to_owned(), objects)])).unwrap();
        let (mut seen, mut next) = (Vec::new(), String::new());
        loop {
            let (status, list) = ask(&server, &format!("/api/v1/things?limit=2&continue={next}"));
            assert_eq!(status, "HTTP/1.1 200 OK");
            seen.extend(list["items"].as_array().unwrap().iter().map(|item| item["n"].as_u64().unwrap()));
            next = list["metadata"]["continue"].as_str().unwrap().to_owned();
            if next.is_empty() {
                break;
            }
        }
        assert_eq!(seen, [0, 1, 2, 3, 4]);
        assert_eq!(ask(&server, "/api/v1/things").1["items"].as_array().unwrap().len(), 5);
        assert_eq!(ask(&server, "/api/v1/others?limit=2").0, "HTTP/1.1 404 Not Found");
    }

    #[test]
    fn a_watch_has_no_news_and_ends_with_its_client() {
        let server = StandIn::start(Collections::from([("/api/v1/things".to_owned(), Vec::new())])).unwrap();
        let (status, news) = ask(&server, "/api/v1/things?watch=true&resourceVersion=1");
        assert_eq!((status.as_str(), news), ("HTTP/1.1 200 OK", serde_json::json!(0)));
    }
}
