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
use caliber_catalog::principal::Principal;
use futures::stream::{BoxStream, StreamExt};
use prost::Message;
use secrecy::ExposeSecret;
use tonic::{Request, Response, Status, Streaming};

use crate::audit::Call;
use crate::authenticate::{self, Credentials, LogInRefused};
use crate::backoff::Attempt;
use crate::session_store::SessionRefused;
use crate::state::{Caller, ServerState, address_of};
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

/// Those that concern the caller's session.
const SESSION_ACTIONS: [&str; 3] = ["SetSessionOptions", "GetSessionOptions", "CloseSession"];

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
            state.recordable()?;
            let attempt = Attempt {
                user,
                peer: request.remote_addr().map(|address| address.ip()),
            };
            let check = tokio::time::timeout(HANDSHAKE_MAX, state.authenticator.check(&attempt, password));
            let outcome = check
                .await
                .map_err(|_| status::of_code(Code::LIM004, "the log-in took too long", None))?;
            record_log_in(state, &attempt, address_of(&request), &outcome).await?;
            let principal = outcome.map_err(LogInRefused::into_status)?;
            state
                .sessions
                .open(principal, Instant::now())
                .map_err(session_refused)?
        }
        Some(Credentials::Token(token)) => {
            state.caller(&request)?;
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

/// A password that was checked is recorded before the client hears whether it was right; an attempt that was turned away
/// is counted.
async fn record_log_in(
    state: &ServerState,
    attempt: &Attempt,
    address: Option<String>,
    outcome: &Result<Principal, LogInRefused>,
) -> Result<(), Status> {
    let Some(audit) = &state.audit else {
        return Ok(());
    };
    let (right, roles) = match outcome {
        Ok(principal) => (true, principal.roles.as_slice()),
        Err(LogInRefused::Wrong(_)) => (false, [].as_slice()),
        Err(LogInRefused::Unchecked(_)) => {
            audit.login_turned_away();
            return Ok(());
        }
    };
    let recorded = audit.login(&attempt.user, address.as_deref(), right, roles).await;
    recorded.map_err(|reason| status::not_audited(&reason))
}

/// Returns when the client has said all, or after a moment.
async fn heard_out(mut messages: Streaming<HandshakeRequest>) {
    let all = async { while let Ok(Some(_)) = messages.message().await {} };
    // A client that waits for our end before its own gets it now.
    let _ = tokio::time::timeout(HEARD_OUT_MAX, all).await;
}

/// An action that Flight SQL's dispatch does not know.
pub async fn perform(
    state: &ServerState,
    request: &Request<Action>,
) -> Result<Response<Stream<arrow_flight::Result>>, Status> {
    let caller = state.caller(request)?;
    let action = request.get_ref();
    if SESSION_ACTIONS.contains(&action.r#type.as_str()) {
        state.record(&caller, Call::Session, &action.r#type).await?;
    }
    let body = match action.r#type.as_str() {
        "CancelFlightInfo" => cancel_flight_info(state, &caller, &action.body).await?,
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
pub async fn cancel_query(state: &ServerState, caller: &Caller, info: &[u8]) -> Result<bool, Status> {
    let info = FlightInfo::decode(info).map_err(|_| undecodable())?;
    cancel(state, caller, &info, "CancelQuery").await
}

/// Cancels first: what is being ended must not wait for the disk. The statement's own end is recorded too.
async fn cancel(state: &ServerState, caller: &Caller, info: &FlightInfo, call: &str) -> Result<bool, Status> {
    let stopped = statement::cancel(state, caller, info)?;
    state.record(caller, Call::Cancel { stopped }, call).await?;
    Ok(stopped)
}

async fn cancel_flight_info(state: &ServerState, caller: &Caller, body: &[u8]) -> Result<Bytes, Status> {
    let request = CancelFlightInfoRequest::decode(body).map_err(|_| undecodable())?;
    let info = request.info.ok_or_else(undecodable)?;
    let stopped = cancel(state, caller, &info, "CancelFlightInfo").await?;
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
