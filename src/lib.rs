pub mod client;
pub mod grpc;
