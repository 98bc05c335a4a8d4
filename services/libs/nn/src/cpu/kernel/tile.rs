//! Tiles: registers of up to 16 rows of 64 bytes, and products of them (Intel AMX).
//!
//! The intrinsics are not stable in Rust yet, but assembly is. Nothing that a compiler makes of Rust touches tiles.

use std::arch::asm;
#[cfg(target_os = "linux")]
use std::sync::OnceLock;

/// The rows of a tile; each has as many float32, or twice as many bfloat16.
const TILE: usize = 16;
/// The bytes of a row.
const ROW_BYTES: usize = 64;
/// The tiles whose number of rows is set: all sums and first factors. The rest, second factors, have all rows.
const N_LEFT: usize = 6;

/// Whether this process may use tiles of bfloat16, and AVX-512.
#[cfg(target_os = "linux")]
pub(super) fn is_available() -> bool {
    static IS_AVAILABLE: OnceLock<bool> = OnceLock::new();
    *IS_AVAILABLE.get_or_init(|| {
        let has_vectors = is_x86_feature_detected!("avx512f")
            && is_x86_feature_detected!("avx512bw")
            && is_x86_feature_detected!("avx512dq")
            && is_x86_feature_detected!("avx512vl")
            && is_x86_feature_detected!("fma");
        has_vectors && has_tiles() && is_permitted()
    })
}

/// Whether the processor has AMX-TILE and AMX-BF16.
#[cfg(target_os = "linux")]
fn has_tiles() -> bool {
    use std::arch::x86_64::__cpuid_count;
    const AMX_BF16: u32 = 1 << 22;
    const AMX_TILE: u32 = 1 << 24;
    let features = __cpuid_count(7, 0).edx;
    features & AMX_BF16 != 0 && features & AMX_TILE != 0
}

/// Asks the kernel to let this process use tiles, whose state is too large to be saved for everyone.
#[cfg(target_os = "linux")]
fn is_permitted() -> bool {
    const ARCH_PRCTL: i64 = 158;
    const ARCH_REQ_XCOMP_PERM: i64 = 0x1023;
    const XFEATURE_XTILEDATA: i64 = 18;
    let result: i64;
    // SAFETY: the call reads two numbers and touches no memory of the process; the instruction overwrites rcx and r11.
    unsafe {
        asm!(
            "syscall",
            inlateout("rax") ARCH_PRCTL => result,
            in("rdi") ARCH_REQ_XCOMP_PERM,
            in("rsi") XFEATURE_XTILEDATA,
            lateout("rcx") _,
            lateout("r11") _,
            options(nostack),
        );
    }
    result == 0
}

/// Tiles that are configured for as long as this lives.
#[derive(Debug)]
pub(super) struct Tiles(());

/// What `ldtilecfg` reads.
#[repr(C, align(64))]
struct Configuration {
    palette: u8,
    start_row: u8,
    reserved: [u8; 14],
    row_bytes: [u16; 16],
    n_rows: [u8; 16],
}

impl Tiles {
    /// Configures tiles 0 to 5 with `n_rows` rows, and tiles 6 and 7 with 16.
    ///
    /// # Safety
    /// The processor has tiles, and the process may use them; `n_rows` is 1 to 16; no other tiles are configured.
    pub(super) unsafe fn new(n_rows: usize) -> Self {
        let mut configuration =
            Configuration { palette: 1, start_row: 0, reserved: [0; 14], row_bytes: [0; 16], n_rows: [0; 16] };
        for tile in 0..8 {
            configuration.row_bytes[tile] = ROW_BYTES as u16;
            configuration.n_rows[tile] = if tile < N_LEFT { n_rows as u8 } else { TILE as u8 };
        }
        // SAFETY: the instruction reads 64 bytes, which the configuration has, in the form that it is defined for.
        unsafe { asm!("ldtilecfg [{}]", in(reg) &raw const configuration, options(nostack, readonly)) };
        Self(())
    }
}

impl Drop for Tiles {
    fn drop(&mut self) {
        // SAFETY: the processor has tiles, or these would not exist.
        unsafe { asm!("tilerelease", options(nostack)) };
    }
}

/// Reads tile `T` from rows that lie `stride` float32 apart.
///
/// # Safety
/// Tiles are configured, and each of the tile's rows may be read.
#[inline(always)]
pub(super) unsafe fn load<const T: usize>(from: *const f32, stride: usize) {
    // SAFETY: the caller's promise.
    unsafe {
        asm!(
            "tileloadd tmm{tile}, [{from} + {stride}*1]",
            tile = const T,
            from = in(reg) from,
            stride = in(reg) stride * size_of::<f32>(),
            options(nostack, readonly),
        );
    }
}

/// Writes tile `T`, one row behind the other.
///
/// # Safety
/// Tiles are configured, and there is room for the tile's rows.
#[inline(always)]
pub(super) unsafe fn store<const T: usize>(to: *mut f32) {
    // SAFETY: the caller's promise.
    unsafe {
        asm!(
            "tilestored [{to} + {stride}*1], tmm{tile}",
            tile = const T,
            to = in(reg) to,
            stride = in(reg) ROW_BYTES,
            options(nostack),
        );
    }
}

/// Adds the product of tiles `A` and `B` to tile `SUM`. Each 32 bits of `A` and of `B` are two bfloat16, whose products,
/// lower by lower and upper by upper half, are both added.
///
/// # Safety
/// Tiles are configured.
#[inline(always)]
pub(super) unsafe fn multiply_add<const SUM: usize, const A: usize, const B: usize>() {
    // SAFETY: the instruction touches tiles only.
    unsafe {
        asm!(
            "tdpbf16ps tmm{sum}, tmm{a}, tmm{b}",
            sum = const SUM,
            a = const A,
            b = const B,
            options(nostack, nomem),
        );
    }
}
