//! A message beyond what one may be is `RESOURCE_EXHAUSTED`, as every other bound.
//!
//! Owns: that gRPC code, where the transport refuses a message before the service sees it. Never: reads a message.

use std::convert::Infallible;
use std::task::{Context, Poll};

use futures::FutureExt;
use futures::future::BoxFuture;
use tonic::Code;
use tonic::body::Body;
use tonic::codegen::{Service, http};
use tonic::server::NamedService;

/// A service whose `OUT_OF_RANGE`, which only the transport's bound gives, is `RESOURCE_EXHAUSTED`.
#[derive(Clone, Debug)]
pub struct Oversized<S>(pub S);

impl<S> Service<http::Request<Body>> for Oversized<S>
where
    S: Service<http::Request<Body>, Response = http::Response<Body>, Error = Infallible>,
    S::Future: Send + 'static,
{
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = BoxFuture<'static, Result<Self::Response, Self::Error>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.0.poll_ready(context)
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        self.0.call(request).map(|answer| answer.map(renamed)).boxed()
    }
}

impl<S: NamedService> NamedService for Oversized<S> {
    const NAME: &'static str = S::NAME;
}

fn renamed(mut answer: http::Response<Body>) -> http::Response<Body> {
    if let Some(status) = answer.headers_mut().get_mut("grpc-status")
        && status.as_bytes() == (Code::OutOfRange as i32).to_string().as_bytes()
    {
        *status = http::HeaderValue::from(Code::ResourceExhausted as i32);
    }
    answer
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_out_of_range_is_renamed() {
        let answer = |code: i32| {
            let answer = http::Response::builder().header("grpc-status", code);
            let answer = renamed(answer.body(Body::empty()).unwrap());
            answer
                .headers()
                .get("grpc-status")
                .unwrap()
                .to_str()
                .unwrap()
                .to_owned()
        };
        assert_eq!(answer(Code::OutOfRange as i32), "8");
        assert_eq!(answer(Code::InvalidArgument as i32), "3");
        assert!(renamed(http::Response::new(Body::empty())).headers().is_empty());
    }
}
