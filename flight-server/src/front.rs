//! The outermost layer of the service: what arrow-flight's Flight SQL dispatch does not do.
//!
//! Owns: GetSchema, ListActions, refusing what no part serves, one shape for every error, the end of a panic.
//! Never: answers a Flight SQL command.

use std::future::Future;
use std::panic::AssertUnwindSafe;

use arrow_flight::flight_service_server::FlightService;
use arrow_flight::{
    Action, ActionType, Criteria, Empty, FlightData, FlightDescriptor, FlightInfo, HandshakeRequest, HandshakeResponse,
    PollInfo, PutResult, SchemaResult, Ticket,
};
use futures::FutureExt;
use tonic::{Request, Response, Status, Streaming};

use crate::actions::{self, Stream};
use crate::service::FlightSql;
use crate::status;

/// The service as it is served.
#[derive(Clone)]
pub struct Front {
    inner: FlightSql,
}

impl Front {
    /// Around `inner`.
    pub fn new(inner: FlightSql) -> Self {
        Self { inner }
    }
}

/// Errors in our shape; a panic is `INT001` for its caller and nothing to anybody else.
async fn guarded<T>(call: &'static str, work: impl Future<Output = Result<T, Status>> + Send) -> Result<T, Status> {
    match AssertUnwindSafe(work).catch_unwind().await {
        Ok(outcome) => outcome.map_err(status::normalised),
        Err(_) => {
            tracing::error!(call, "a call panicked");
            Err(status::internal())
        }
    }
}

#[tonic::async_trait]
impl FlightService for Front {
    type HandshakeStream = Stream<HandshakeResponse>;
    type ListFlightsStream = Stream<FlightInfo>;
    type DoGetStream = Stream<FlightData>;
    type DoPutStream = Stream<PutResult>;
    type DoActionStream = Stream<arrow_flight::Result>;
    type ListActionsStream = Stream<ActionType>;
    type DoExchangeStream = Stream<FlightData>;

    async fn handshake(
        &self,
        request: Request<Streaming<HandshakeRequest>>,
    ) -> Result<Response<Self::HandshakeStream>, Status> {
        guarded("Handshake", self.inner.handshake(request)).await
    }

    async fn get_flight_info(&self, request: Request<FlightDescriptor>) -> Result<Response<FlightInfo>, Status> {
        guarded("GetFlightInfo", self.inner.get_flight_info(request)).await
    }

    /// The schema that GetFlightInfo would promise.
    async fn get_schema(&self, request: Request<FlightDescriptor>) -> Result<Response<SchemaResult>, Status> {
        let info = guarded("GetSchema", self.inner.get_flight_info(request)).await?;
        Ok(Response::new(SchemaResult {
            schema: info.into_inner().schema,
        }))
    }

    async fn do_get(&self, request: Request<Ticket>) -> Result<Response<Self::DoGetStream>, Status> {
        guarded("DoGet", self.inner.do_get(request)).await
    }

    async fn do_put(&self, request: Request<Streaming<FlightData>>) -> Result<Response<Self::DoPutStream>, Status> {
        guarded("DoPut", self.inner.do_put(request)).await
    }

    async fn do_action(&self, request: Request<Action>) -> Result<Response<Self::DoActionStream>, Status> {
        guarded("DoAction", self.inner.do_action(request)).await
    }

    async fn list_actions(&self, _request: Request<Empty>) -> Result<Response<Self::ListActionsStream>, Status> {
        Ok(Response::new(actions::list()))
    }

    async fn poll_flight_info(&self, _request: Request<FlightDescriptor>) -> Result<Response<PollInfo>, Status> {
        Err(status::unsupported("PollFlightInfo"))
    }

    async fn list_flights(&self, _request: Request<Criteria>) -> Result<Response<Self::ListFlightsStream>, Status> {
        Err(status::unsupported("ListFlights"))
    }

    async fn do_exchange(
        &self,
        _request: Request<Streaming<FlightData>>,
    ) -> Result<Response<Self::DoExchangeStream>, Status> {
        Err(status::unsupported("DoExchange"))
    }
}
