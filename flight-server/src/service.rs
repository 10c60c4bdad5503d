//! The Flight SQL service: each request to the part that answers it.
//!
//! Owns: the dispatch. Never: plans, encodes or decides anything itself.

use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::Schema;
use arrow_flight::flight_service_server::FlightService;
use arrow_flight::sql::metadata::SqlInfoDataBuilder;
use arrow_flight::sql::server::{DoPutError, FlightSqlService, PeekableFlightDataStream};
use arrow_flight::sql::{
    ActionCancelQueryRequest, ActionCancelQueryResult, ActionClosePreparedStatementRequest,
    ActionCreatePreparedStatementRequest, ActionCreatePreparedStatementResult, CommandGetCatalogs,
    CommandGetCrossReference, CommandGetDbSchemas, CommandGetExportedKeys, CommandGetImportedKeys,
    CommandGetPrimaryKeys, CommandGetSqlInfo, CommandGetTableTypes, CommandGetTables, CommandGetXdbcTypeInfo,
    CommandPreparedStatementQuery, CommandStatementQuery, DoPutPreparedStatementResult, ProstMessageExt, SqlInfo,
    TicketStatementQuery,
};
use arrow_flight::{Action, FlightDescriptor, FlightInfo, HandshakeRequest, HandshakeResponse, Ticket};
use bytes::Bytes;
use caliber_engine::Listing;
use tonic::{Request, Response, Status, Streaming};

use crate::actions::{self, Stream};
use crate::audit::Call;
use crate::metadata::{self, keys, tables};
use crate::state::{Caller, ServerState};
use crate::statement::{self, MessageStream};
use crate::{prepared, sql_info, status};

type InfoResult = Result<Response<FlightInfo>, Status>;
type GetResult = Result<Response<MessageStream>, Status>;

/// The service over the parts of a server.
#[derive(Clone)]
pub struct FlightSql {
    state: Arc<ServerState>,
}

impl FlightSql {
    /// A service over `state`.
    pub fn new(state: Arc<ServerState>) -> Self {
        Self { state }
    }

    fn caller<T>(&self, request: &Request<T>) -> Result<Caller, Status> {
        self.state.caller(request)
    }

    fn promise(
        &self,
        command: &impl ProstMessageExt,
        schema: &Schema,
        request: Request<FlightDescriptor>,
    ) -> InfoResult {
        self.caller(&request)?;
        metadata::flight_info(command, schema, request.into_inner()).map(Response::new)
    }

    /// The answer to the metadata command `call`, which is recorded before it leaves.
    async fn answer(
        &self,
        request: &Request<Ticket>,
        call: &'static str,
        batch: impl FnOnce(&Listing) -> Result<RecordBatch, Status>,
    ) -> GetResult {
        let caller = self.caller(request)?;
        self.state.record(&caller, Call::Metadata, call).await?;
        metadata::stream(&batch(&caller.session.listing())?).map(Response::new)
    }
}

fn no_transaction(id: Option<&Bytes>) -> Result<(), Status> {
    match id {
        Some(id) if !id.is_empty() => Err(status::unsupported("a transaction")),
        _ => Ok(()),
    }
}

#[tonic::async_trait]
impl FlightSqlService for FlightSql {
    type FlightService = Self;

    async fn do_handshake(
        &self,
        request: Request<Streaming<HandshakeRequest>>,
    ) -> Result<Response<Stream<HandshakeResponse>>, Status> {
        actions::log_in(&self.state, request).await
    }

    async fn get_flight_info_statement(
        &self,
        query: CommandStatementQuery,
        request: Request<FlightDescriptor>,
    ) -> InfoResult {
        let caller = self.caller(&request)?;
        no_transaction(query.transaction_id.as_ref())?;
        statement::flight_info(&self.state, &caller, query.query, None, request.into_inner())
            .await
            .map(Response::new)
    }

    async fn get_flight_info_prepared_statement(
        &self,
        query: CommandPreparedStatementQuery,
        request: Request<FlightDescriptor>,
    ) -> InfoResult {
        let caller = self.caller(&request)?;
        let claims = prepared::open(&self.state, &caller, &query.prepared_statement_handle)?;
        statement::flight_info(
            &self.state,
            &caller,
            claims.sql,
            claims.parameters,
            request.into_inner(),
        )
        .await
        .map(Response::new)
    }

    async fn do_get_statement(&self, ticket: TicketStatementQuery, request: Request<Ticket>) -> GetResult {
        let caller = self.caller(&request)?;
        let claims = statement::open_ticket(&self.state, &caller, &ticket.statement_handle)?;
        statement::run(&self.state, &caller, claims).await.map(Response::new)
    }

    async fn do_get_prepared_statement(
        &self,
        query: CommandPreparedStatementQuery,
        request: Request<Ticket>,
    ) -> GetResult {
        let caller = self.caller(&request)?;
        let claims = prepared::open(&self.state, &caller, &query.prepared_statement_handle)?;
        statement::run(&self.state, &caller, claims).await.map(Response::new)
    }

    async fn get_flight_info_catalogs(
        &self,
        query: CommandGetCatalogs,
        request: Request<FlightDescriptor>,
    ) -> InfoResult {
        self.promise(&query, &query.into_builder().schema(), request)
    }

    async fn do_get_catalogs(&self, _query: CommandGetCatalogs, request: Request<Ticket>) -> GetResult {
        self.answer(&request, "GetCatalogs", tables::catalogs).await
    }

    async fn get_flight_info_schemas(
        &self,
        query: CommandGetDbSchemas,
        request: Request<FlightDescriptor>,
    ) -> InfoResult {
        self.promise(&query, &query.clone().into_builder().schema(), request)
    }

    async fn do_get_schemas(&self, query: CommandGetDbSchemas, request: Request<Ticket>) -> GetResult {
        self.answer(&request, "GetDbSchemas", |listing| tables::schemas(query, listing))
            .await
    }

    async fn get_flight_info_tables(&self, query: CommandGetTables, request: Request<FlightDescriptor>) -> InfoResult {
        self.promise(&query, &tables::tables_schema(query.clone()), request)
    }

    async fn do_get_tables(&self, query: CommandGetTables, request: Request<Ticket>) -> GetResult {
        self.answer(&request, "GetTables", |listing| tables::tables(query, listing))
            .await
    }

    async fn get_flight_info_table_types(
        &self,
        query: CommandGetTableTypes,
        request: Request<FlightDescriptor>,
    ) -> InfoResult {
        self.promise(&query, &query.into_builder().schema(), request)
    }

    async fn do_get_table_types(&self, _query: CommandGetTableTypes, request: Request<Ticket>) -> GetResult {
        self.answer(&request, "GetTableTypes", |_| tables::table_types()).await
    }

    async fn get_flight_info_sql_info(
        &self,
        query: CommandGetSqlInfo,
        request: Request<FlightDescriptor>,
    ) -> InfoResult {
        self.promise(&query, SqlInfoDataBuilder::schema(), request)
    }

    async fn do_get_sql_info(&self, query: CommandGetSqlInfo, request: Request<Ticket>) -> GetResult {
        self.answer(&request, "GetSqlInfo", |_| {
            sql_info::answer(&self.state.sql_info, &query.info)
        })
        .await
    }

    async fn get_flight_info_primary_keys(
        &self,
        query: CommandGetPrimaryKeys,
        request: Request<FlightDescriptor>,
    ) -> InfoResult {
        self.promise(&query, &keys::PRIMARY_KEYS, request)
    }

    async fn do_get_primary_keys(&self, query: CommandGetPrimaryKeys, request: Request<Ticket>) -> GetResult {
        self.answer(&request, "GetPrimaryKeys", |listing| keys::primary(query, listing))
            .await
    }

    async fn get_flight_info_exported_keys(
        &self,
        query: CommandGetExportedKeys,
        request: Request<FlightDescriptor>,
    ) -> InfoResult {
        self.promise(&query, &keys::REFERENCES, request)
    }

    async fn do_get_exported_keys(&self, query: CommandGetExportedKeys, request: Request<Ticket>) -> GetResult {
        self.answer(&request, "GetExportedKeys", |listing| keys::exported(query, listing))
            .await
    }

    async fn get_flight_info_imported_keys(
        &self,
        query: CommandGetImportedKeys,
        request: Request<FlightDescriptor>,
    ) -> InfoResult {
        self.promise(&query, &keys::REFERENCES, request)
    }

    async fn do_get_imported_keys(&self, query: CommandGetImportedKeys, request: Request<Ticket>) -> GetResult {
        self.answer(&request, "GetImportedKeys", |listing| keys::imported(query, listing))
            .await
    }

    async fn get_flight_info_cross_reference(
        &self,
        query: CommandGetCrossReference,
        request: Request<FlightDescriptor>,
    ) -> InfoResult {
        self.promise(&query, &keys::REFERENCES, request)
    }

    async fn do_get_cross_reference(&self, query: CommandGetCrossReference, request: Request<Ticket>) -> GetResult {
        self.answer(&request, "GetCrossReference", |listing| keys::crossed(query, listing))
            .await
    }

    async fn get_flight_info_xdbc_type_info(
        &self,
        query: CommandGetXdbcTypeInfo,
        request: Request<FlightDescriptor>,
    ) -> InfoResult {
        self.promise(&query, &self.state.type_info.schema(), request)
    }

    async fn do_get_xdbc_type_info(&self, query: CommandGetXdbcTypeInfo, request: Request<Ticket>) -> GetResult {
        self.answer(&request, "GetXdbcTypeInfo", |_| {
            self.state
                .type_info
                .record_batch(query.data_type)
                .map_err(|_| status::internal())
        })
        .await
    }

    async fn do_put_prepared_statement_query(
        &self,
        query: CommandPreparedStatementQuery,
        request: Request<PeekableFlightDataStream>,
    ) -> Result<DoPutPreparedStatementResult, Status> {
        let caller = self.caller(&request)?;
        prepared::bind(
            &self.state,
            &caller,
            &query.prepared_statement_handle,
            request.into_inner(),
        )
        .await
    }

    async fn do_put_error_callback(
        &self,
        request: Request<PeekableFlightDataStream>,
        _error: DoPutError,
    ) -> Result<Response<<Self as FlightService>::DoPutStream>, Status> {
        self.caller(&request)?;
        Err(status::malformed("the first message of a DoPut must hold a command"))
    }

    async fn do_action_create_prepared_statement(
        &self,
        query: ActionCreatePreparedStatementRequest,
        request: Request<Action>,
    ) -> Result<ActionCreatePreparedStatementResult, Status> {
        let caller = self.caller(&request)?;
        no_transaction(query.transaction_id.as_ref())?;
        prepared::create(&self.state, &caller, query).await
    }

    /// Nothing is kept, so nothing is freed; a handle that is not the caller's is refused all the same.
    async fn do_action_close_prepared_statement(
        &self,
        query: ActionClosePreparedStatementRequest,
        request: Request<Action>,
    ) -> Result<(), Status> {
        let caller = self.caller(&request)?;
        prepared::open(&self.state, &caller, &query.prepared_statement_handle).map(drop)
    }

    async fn do_action_cancel_query(
        &self,
        query: ActionCancelQueryRequest,
        request: Request<Action>,
    ) -> Result<ActionCancelQueryResult, Status> {
        let caller = self.caller(&request)?;
        let stopped = actions::cancel_query(&self.state, &caller, &query.info).await?;
        // CancelResult: 1 is cancelled, 3 not cancellable.
        Ok(ActionCancelQueryResult {
            result: if stopped { 1 } else { 3 },
        })
    }

    async fn do_action_fallback(
        &self,
        request: Request<Action>,
    ) -> Result<Response<Stream<arrow_flight::Result>>, Status> {
        actions::perform(&self.state, &request).await
    }

    async fn register_sql_info(&self, _id: i32, _result: &SqlInfo) {}
}
