//! What `libtorch.cpp` exports, and the structures of `bridge.h`, as they stand there.

use std::ffi::{c_char, c_void};

#[repr(C)]
pub struct CModule {
    _private: [u8; 0],
}

#[repr(C)]
pub struct CResults {
    _private: [u8; 0],
}

#[repr(C)]
pub struct CSent {
    _private: [u8; 0],
}

#[repr(C)]
pub struct CStaging {
    _private: [u8; 0],
}

#[repr(C)]
pub struct CArgument {
    pub name: *const c_char,
    pub type_name: *const c_char,
    pub takes: i32,
    pub optional: bool,
}

#[repr(C)]
pub struct CReturns {
    pub count: i64,
    pub names: *const *const c_char,
}

#[repr(C)]
pub struct CPart {
    pub data: *const c_void,
    pub size: usize,
}

#[repr(C)]
#[derive(Debug)]
pub struct CPixels {
    pub dims: [i64; 4],
    pub color: i32,
    pub planes: bool,
    pub scale: f64,
    pub mean: [f64; 3],
    pub deviation: [f64; 3],
    pub least: f64,
    pub most: f64,
}

#[repr(C)]
pub struct CInput {
    pub name: *const c_char,
    pub argument: usize,
    pub kind: i32,
    pub dims: *const i64,
    pub rank: usize,
    pub parts: *const CPart,
    pub part_count: usize,
    pub pixels: *const CPixels,
}

#[repr(C)]
pub struct CPicture {
    pub name: *const c_char,
    pub place: usize,
    pub color: i32,
    pub planes: bool,
    pub rows: bool,
    pub channels: bool,
    pub scale: f64,
}

#[repr(C)]
pub struct CCall {
    pub inputs: *const CInput,
    pub count: usize,
    pub takes: i32,
    pub threads: i32,
    pub stream: i64,
    pub inference: bool,
    pub optimized: bool,
    pub picture: *const CPicture,
}

#[repr(C)]
pub struct COutput {
    pub name: *const c_char,
    pub type_name: *const c_char,
    pub kind: i32,
    pub dims: *const i64,
    pub rank: usize,
    pub data: *const c_void,
    pub size: usize,
    pub pixels: bool,
}

unsafe extern "C" {
    pub fn frameserve_torch_text_free(text: *mut c_char);
    pub fn frameserve_torch_settle(tf32: bool);
    pub fn frameserve_torch_start_cuda() -> *mut c_char;
    pub fn frameserve_torch_check(device: i32) -> *mut c_char;
    pub fn frameserve_torch_load(
        path: *const c_char,
        device: i32,
        computes: i32,
        into: *mut *mut CModule,
    ) -> *mut c_char;
    pub fn frameserve_torch_channels_last(module: *mut CModule) -> *mut c_char;
    pub fn frameserve_torch_optimize(module: *mut CModule) -> *mut c_char;
    pub fn frameserve_torch_free(module: *mut CModule);
    pub fn frameserve_torch_arguments(module: *const CModule, count: *mut usize) -> *const CArgument;
    pub fn frameserve_torch_returns(module: *const CModule) -> CReturns;
    pub fn frameserve_torch_keeps_state(module: *const CModule) -> bool;
    pub fn frameserve_torch_stream(device: i32, id: *mut i64) -> *mut c_char;
    pub fn frameserve_torch_staging() -> *mut CStaging;
    pub fn frameserve_torch_staging_free(staging: *mut CStaging);
    pub fn frameserve_torch_run(
        module: *const CModule,
        call: *const CCall,
        staging: *mut CStaging,
        into: *mut *mut CResults,
    ) -> *mut c_char;
    pub fn frameserve_torch_send(
        module: *const CModule,
        call: *const CCall,
        into: *mut *mut CSent,
    ) -> *mut c_char;
    pub fn frameserve_torch_compute(
        module: *const CModule,
        call: *const CCall,
        sent: *const CSent,
    ) -> *mut c_char;
    pub fn frameserve_torch_sent_free(sent: *mut CSent);
    pub fn frameserve_torch_outputs(results: *const CResults, count: *mut usize) -> *const COutput;
    pub fn frameserve_torch_difference(
        one: *const CResults,
        other: *const CResults,
        into: *mut f64,
    ) -> *mut c_char;
    pub fn frameserve_torch_results_free(results: *mut CResults);
}
