//! What `libtorch.cpp` exports, as it stands there.

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
pub struct CInput {
    pub name: *const c_char,
    pub argument: usize,
    pub kind: i32,
    pub dims: *const i64,
    pub rank: usize,
    pub parts: *const CPart,
    pub part_count: usize,
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
}

unsafe extern "C" {
    pub fn frameserve_torch_text_free(text: *mut c_char);
    pub fn frameserve_torch_load(
        path: *const c_char,
        device: i32,
        computes: i32,
        into: *mut *mut CModule,
    ) -> *mut c_char;
    pub fn frameserve_torch_optimize(module: *mut CModule) -> *mut c_char;
    pub fn frameserve_torch_free(module: *mut CModule);
    pub fn frameserve_torch_arguments(module: *const CModule, count: *mut usize) -> *const CArgument;
    pub fn frameserve_torch_returns(module: *const CModule) -> CReturns;
    pub fn frameserve_torch_keeps_state(module: *const CModule) -> bool;
    pub fn frameserve_torch_stream(device: i32, id: *mut i64) -> *mut c_char;
    pub fn frameserve_torch_run(
        module: *const CModule,
        call: *const CCall,
        into: *mut *mut CResults,
    ) -> *mut c_char;
    pub fn frameserve_torch_outputs(results: *const CResults, count: *mut usize) -> *const COutput;
    pub fn frameserve_torch_difference(
        one: *const CResults,
        other: *const CResults,
        into: *mut f64,
    ) -> *mut c_char;
    pub fn frameserve_torch_results_free(results: *mut CResults);
}
