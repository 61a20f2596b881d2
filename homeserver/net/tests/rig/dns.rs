//! A DNS server that knows what the test tells it, and writes down what it is asked.

use std::{
    collections::{BTreeSet, HashMap},
    net::{IpAddr, SocketAddr},
    sync::{Arc, Mutex},
    time::Duration,
};

use hickory_proto::{
    op::{Metadata, ResponseCode},
    rr::{
        Name, RData, Record, RecordType,
        rdata::{CNAME, SOA, SRV},
    },
};
use hickory_server::{
    Server,
    net::runtime::Time,
    server::{Request, RequestHandler, ResponseHandler, ResponseInfo},
    zone_handler::MessageResponseBuilder,
};
use tokio::net::{TcpListener, UdpSocket};

/// The time to live of every record, in seconds.
pub const TTL: u32 = 1234;

/// The time to live of "there is none", in seconds.
pub const NEGATIVE_TTL: u32 = 77;

#[derive(Clone, Default)]
pub struct Dns {
    zone: Arc<Mutex<Zone>>,
}

#[derive(Default)]
struct Zone {
    records: HashMap<(String, RecordType), Vec<RData>>,
    failing: BTreeSet<String>,
    asked: Vec<(String, RecordType)>,
}

impl Dns {
    /// Starts to answer, and says where.
    pub async fn start(&self) -> SocketAddr {
        let udp = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let at = udp.local_addr().unwrap();
        let mut server = Server::new(Handler(self.zone.clone()));
        server.register_socket(udp);
        if let Ok(tcp) = TcpListener::bind(at).await {
            server.register_listener(tcp, Duration::from_secs(5), 64);
        }
        tokio::spawn(async move { server.block_until_done().await });
        at
    }

    pub fn address(&self, name: &str, address: IpAddr) -> &Self {
        let (kind, data) = match address {
            IpAddr::V4(address) => (RecordType::A, RData::A(address.into())),
            IpAddr::V6(address) => (RecordType::AAAA, RData::AAAA(address.into())),
        };
        self.add(name, kind, data)
    }

    pub fn alias(&self, name: &str, target: &str) -> &Self {
        self.add(name, RecordType::CNAME, RData::CNAME(CNAME(absolute(target))))
    }

    pub fn srv(&self, name: &str, priority: u16, weight: u16, port: u16, target: &str) -> &Self {
        self.add(name, RecordType::SRV, RData::SRV(SRV::new(priority, weight, port, absolute(target))))
    }

    /// Answers questions about this name with SERVFAIL.
    pub fn fail(&self, name: &str) -> &Self {
        self.zone.lock().unwrap().failing.insert(name.to_owned());
        self
    }

    /// What it has been asked so far.
    pub fn asked(&self) -> Vec<(String, RecordType)> {
        self.zone.lock().unwrap().asked.clone()
    }

    fn add(&self, name: &str, kind: RecordType, data: RData) -> &Self {
        self.zone.lock().unwrap().records.entry((name.to_ascii_lowercase(), kind)).or_default().push(data);
        self
    }
}

struct Handler(Arc<Mutex<Zone>>);

#[async_trait::async_trait]
impl RequestHandler for Handler {
    async fn handle_request<R: ResponseHandler, T: Time>(&self, request: &Request, mut respond: R) -> ResponseInfo {
        let query = request.request_info().unwrap().query;
        let name = query.name().to_string().trim_end_matches('.').to_ascii_lowercase();
        let (answers, failing) = {
            let mut zone = self.0.lock().unwrap();
            zone.asked.push((name.clone(), query.query_type()));
            (zone.lookup(&name, query.query_type()), zone.failing.contains(&name))
        };
        let builder = MessageResponseBuilder::from_message_request(request);
        let mut metadata = Metadata::response_from_request(&request.metadata);
        metadata.recursion_available = true;
        let soa = Record::from_rdata(
            Name::root(),
            NEGATIVE_TTL,
            RData::SOA(SOA::new(Name::root(), Name::root(), 1, 1, 1, 1, NEGATIVE_TTL)),
        );
        let sent = if failing {
            respond.send_response(builder.error_msg(&request.metadata, ResponseCode::ServFail)).await
        } else if answers.is_empty() {
            metadata.response_code = ResponseCode::NXDomain;
            respond.send_response(builder.build(metadata, [], [], [&soa], [])).await
        } else {
            respond.send_response(builder.build(metadata, &answers, [], [], [])).await
        };
        sent.unwrap()
    }
}

impl Zone {
    fn lookup(&self, name: &str, kind: RecordType) -> Vec<Record> {
        let record = |data: &RData| Record::from_rdata(absolute(name), TTL, data.clone());
        let found = |kind| self.records.get(&(name.to_owned(), kind)).into_iter().flatten();
        let mut answers: Vec<Record> = found(kind).map(record).collect();
        for alias in found(RecordType::CNAME) {
            answers.push(record(alias));
            if let RData::CNAME(target) = alias {
                answers.extend(self.lookup(target.0.to_string().trim_end_matches('.'), kind));
            }
        }
        answers
    }
}

fn absolute(name: &str) -> Name {
    let mut name = Name::from_ascii(name).unwrap();
    name.set_fqdn(true);
    name
}
