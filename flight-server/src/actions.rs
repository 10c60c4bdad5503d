//! Log-in and the Flight actions that are not Flight SQL's.
//!
//! Owns: the handshake, CloseSession, CancelFlightInfo. Never: checks a password, runs a statement.

use std::time::{Duration, Instant};

use arrow_flight::{
    Action, ActionType, CancelFlightInfoRequest, CancelFlightInfoResult, CancelStatus, FlightInfo, HandshakeRequest,
    HandshakeResponse,
};
use bytes::Bytes;
use caliber_catalog::diagnostic::Code;
use futures::stream::{BoxStream, StreamExt};
use prost::Message;
use secrecy::ExposeSecret;
use tonic::{Request, Response, Status, Streaming};

use crate::authenticate::{self, Credentials};
use crate::backoff::Attempt;
use crate::session_store::SessionRefused;
use crate::state::{Caller, ServerState};
use crate::{session_options, statement, status};

/// A stream of messages of one type.
pub type Stream<T> = BoxStream<'static, Result<T, Status>>;

/// A log-in that takes longer is given up.
const HANDSHAKE_MAX: Duration = Duration::from_secs(10);

/// How long a client that was answered may go on talking.
const HEARD_OUT_MAX: Duration = Duration::from_secs(1);

/// Every action this server performs, for ListActions.
pub const ACTIONS: [(&str, &str); 7] = [
    (
        "CreatePreparedStatement",
        "Prepares a statement: ActionCreatePreparedStatementRequest to ActionCreatePreparedStatementResult.",
    ),
    (
        "ClosePreparedStatement",
        "Closes a prepared statement: ActionClosePreparedStatementRequest, no result.",
    ),
    (
        "CancelQuery",
        "Cancels a running statement: ActionCancelQueryRequest to ActionCancelQueryResult.",
    ),
    (
        "CancelFlightInfo",
        "Cancels a running statement: CancelFlightInfoRequest to CancelFlightInfoResult.",
    ),
    (
        "SetSessionOptions",
        "Sets `catalog` or `schema`: SetSessionOptionsRequest to SetSessionOptionsResult.",
    ),
    (
        "GetSessionOptions",
        "Gives `catalog` and `schema`: GetSessionOptionsRequest to GetSessionOptionsResult.",
    ),
    (
        "CloseSession",
        "Ends the session: CloseSessionRequest to CloseSessionResult.",
    ),
];

/// `ACTIONS` as messages.
pub fn list() -> Stream<ActionType> {
    let actions = ACTIONS.map(|(kind, description)| {
        Ok(ActionType {
            r#type: kind.into(),
            description: description.into(),
        })
    });
    futures::stream::iter(actions).boxed()
}

/// Basic: a new session, its token in the reply's `authorization`. Bearer: the session of that token, again.
/// What the request's messages hold does not matter: some clients send an empty one, some none.
pub async fn log_in(
    state: &ServerState,
    request: Request<Streaming<HandshakeRequest>>,
) -> Result<Response<Stream<HandshakeResponse>>, Status> {
    let token = match authenticate::credentials(request.metadata())? {
        Some(Credentials::Password(user, password)) => {
            let attempt = Attempt {
                user,
                peer: request.remote_addr().map(|address| address.ip()),
            };
            let check = tokio::time::timeout(HANDSHAKE_MAX, state.authenticator.check(&attempt, password));
            let principal = check
                .await
                .map_err(|_| status::of_code(Code::LIM004, "the log-in took too long", None))??;
            state
                .sessions
                .open(principal, Instant::now())
                .map_err(session_refused)?
        }
        Some(Credentials::Token(token)) => {
            state.caller(request.metadata())?;
            token.expose_secret().to_owned()
        }
        None => return Err(authenticate::not_logged_in()),
    };
    let header = format!("Bearer {token}").parse().map_err(|_| status::internal())?;
    let reply = HandshakeResponse {
        protocol_version: 0,
        payload: token.into(),
    };
    // To end before the client has said all it has to say would reset the stream under some of them.
    let end = futures::stream::once(heard_out(request.into_inner())).filter_map(|()| std::future::ready(None));
    let mut response = Response::new(futures::stream::iter([Ok(reply)]).chain(end).boxed());
    response.metadata_mut().insert("authorization", header);
    Ok(response)
}

/// Returns when the client has said all, or after a moment.
async fn heard_out(mut messages: Streaming<HandshakeRequest>) {
    let all = async { while let Ok(Some(_)) = messages.message().await {} };
    // A client that waits for our end before its own gets it now.
    let _ = tokio::time::timeout(HEARD_OUT_MAX, all).await;
}

/// An action that Flight SQL's dispatch does not know.
pub fn perform(
    state: &ServerState,
    request: &Request<Action>,
) -> Result<Response<Stream<arrow_flight::Result>>, Status> {
    let caller = state.caller(request.metadata())?;
    let action = request.get_ref();
    let body = match action.r#type.as_str() {
        "CancelFlightInfo" => cancel_flight_info(state, &caller, &action.body)?,
        "SetSessionOptions" => session_options::set(&caller, &action.body)?,
        "GetSessionOptions" => session_options::get(&caller),
        "CloseSession" => close_session(state, request)?,
        _ => return Err(status::unsupported("this action")),
    };
    Ok(Response::new(
        futures::stream::iter([Ok(arrow_flight::Result { body })]).boxed(),
    ))
}

/// Ends the statement that `info`, a `FlightInfo` as bytes, promised. Gives whether it ran.
pub fn cancel_query(state: &ServerState, caller: &Caller, info: &[u8]) -> Result<bool, Status> {
    statement::cancel(state, caller, &FlightInfo::decode(info).map_err(|_| undecodable())?)
}

fn cancel_flight_info(state: &ServerState, caller: &Caller, body: &[u8]) -> Result<Bytes, Status> {
    let request = CancelFlightInfoRequest::decode(body).map_err(|_| undecodable())?;
    let stopped = statement::cancel(state, caller, &request.info.ok_or_else(undecodable)?)?;
    let result = if stopped {
        CancelStatus::Cancelled
    } else {
        CancelStatus::NotCancellable
    };
    Ok(CancelFlightInfoResult::new(result).encode_to_vec().into())
}

fn close_session(state: &ServerState, request: &Request<Action>) -> Result<Bytes, Status> {
    match authenticate::credentials(request.metadata())? {
        Some(Credentials::Token(token)) => Ok(session_options::closed(state.sessions.close(token.expose_secret()))),
        _ => Err(authenticate::not_logged_in()),
    }
}

fn undecodable() -> Status {
    status::malformed("the request to cancel cannot be decoded")
}

fn session_refused(refused: SessionRefused) -> Status {
    match refused {
        SessionRefused::TooMany => status::of_code(
            Code::LIM005,
            "too many open sessions",
            Some("close one, or try again in a minute"),
        ),
        SessionRefused::NoRandomness => status::internal(),
    }
}
