//! What official clients sent, as it was recorded, made ready to be sent again.

use oxmq_compat_tests::wire;
use serde_json::{Value, json};

/// Requests that are not played.
const LEFT_OUT: &[i64] = &[
    // They reach into a client, which would have to answer.
    SEND_REPLY_MESSAGE,
    SEND_REPLY_MESSAGE_V2,
    GET_CONSUMER_RUNNING_INFO,
    CONSUME_MESSAGE_DIRECTLY,
    // The broker undoes them with its next registration, whenever that is.
    WIPE_WRITE_PERM_OF_BROKER,
    ADD_WRITE_PERM_OF_BROKER,
];
const WIPE_WRITE_PERM_OF_BROKER: i64 = 205;
const GET_CONSUMER_RUNNING_INFO: i64 = 307;
const CONSUME_MESSAGE_DIRECTLY: i64 = 309;
const SEND_REPLY_MESSAGE: i64 = 324;
const SEND_REPLY_MESSAGE_V2: i64 = 325;
const ADD_WRITE_PERM_OF_BROKER: i64 = 327;

/// Fields that would make an answer wait or depend on when it is played.
const PINNED: &[(i64, &str, &str)] = &[
    // The end of a lookup by key is a time, which has passed.
    (12, "endTimestamp", "9223372036854775807"),
    // Without the bit that lets a pull wait.
    (11, "sysFlag", "4"),
    (361, "sysFlag", "4"),
    (200_050, "pollTime", "0"),
];

/// One request.
pub(crate) struct Request {
    /// To the name server, else to the broker.
    pub(crate) to_namesrv: bool,
    pub(crate) code: i64,
    /// What the client was doing.
    pub(crate) call: String,
    header: Value,
    body: Vec<u8>,
}

impl Request {
    /// The frame, with an opaque of its own.
    pub(crate) fn frame(&self, opaque: i32) -> Vec<u8> {
        let mut header = self.header.clone();
        header["opaque"] = json!(opaque);
        wire::frame(header.to_string().as_bytes(), &self.body)
    }

    pub(crate) fn is_oneway(&self) -> bool {
        self.header["flag"].as_i64().unwrap() & 2 != 0
    }
}

/// All requests of a client in a recording, in their order.
pub(crate) fn requests(recording: &str) -> Vec<Request> {
    let frames = recording.lines().skip(1).map(|line| serde_json::from_str::<Value>(line).unwrap());
    let sent = frames.filter(|frame| frame["from"] == "client" && frame["answers"].is_null());
    sent.filter_map(|frame| request(&frame)).collect()
}

fn request(frame: &Value) -> Option<Request> {
    let mut header: Value = serde_json::from_str(frame["header"].as_str().unwrap()).unwrap();
    let code = header["code"].as_i64().unwrap();
    for (_, name, value) in PINNED.iter().filter(|(of, _, _)| *of == code) {
        header["extFields"][*name] = json!(value);
    }
    let body = match (&frame["body"], &frame["body_hex"]) {
        (Value::String(text), _) => text.clone().into_bytes(),
        (_, Value::String(hex)) => from_hex(hex),
        _ => Vec::new(),
    };
    let to_namesrv = frame["to"] == "namesrv";
    let call = frame["call"].as_str().unwrap().to_owned();
    (!LEFT_OUT.contains(&code)).then_some(Request { to_namesrv, code, call, header, body })
}

fn from_hex(hex: &str) -> Vec<u8> {
    let digits = hex.as_bytes().chunks(2).map(|pair| std::str::from_utf8(pair).unwrap());
    digits.map(|pair| u8::from_str_radix(pair, 16).unwrap()).collect()
}
