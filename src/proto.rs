//! Messages and services, generated from `protos/`.
#![allow(missing_docs, clippy::all, clippy::restriction, reason = "it is generated code")]

pub mod codec;
pub mod framing;

tonic::include_proto!("_");

/// The KServe V2 inference protocol, and what a model's configuration consists of.
pub mod inference {
    tonic::include_proto!("inference");
}

/// TorchServe's services. Modules are nested as their packages are, since they refer to each other so.
pub mod org {
    pub mod pytorch {
        pub mod serve {
            pub mod grpc {
                /// Predictions.
                pub mod inference {
                    tonic::include_proto!("org.pytorch.serve.grpc.inference");
                }
                /// Models that come, change and go.
                pub mod management {
                    tonic::include_proto!("org.pytorch.serve.grpc.management");
                }
                /// The open inference protocol under TorchServe's package.
                pub mod openinference {
                    tonic::include_proto!("org.pytorch.serve.grpc.openinference");
                }
            }
        }
    }
}
pub use org::pytorch::serve::grpc as torchserve;

/// MindSpore Serving's service.
pub mod mindspore {
    tonic::include_proto!("mindspore.serving.proto");
}

/// Ray Serve's own service.
pub mod ray {
    tonic::include_proto!("ray.serve");
}

/// Errors as messages.
pub mod google {
    /// `google.rpc`.
    pub mod rpc {
        tonic::include_proto!("google.rpc");
    }
}

/// Every protocol's description, for reflection.
pub const DESCRIPTORS: &[u8] = tonic::include_file_descriptor_set!("descriptors");
