// What an adapter adds to one site's outputs, for lora_up, lora_up_tile and lora_up_subgroup: its sizes and what it reads.
// Shapes: u [rows, U_STRIDE]; b: per slot SLOT_STRIDE elements, B [N, RANK] from B_OFFSET on; y [rows, Y_STRIDE].
// Needs include/rows.

override N: u32;
override RANK: u32;
override U_STRIDE: u32;
override U_OFFSET: u32;
override B_OFFSET: u32;
override SLOT_STRIDE: u32;
override Y_STRIDE: u32;
override Y_OFFSET: u32;

@group(0) @binding(0) var<storage, read> rows: array<Row>;
@group(0) @binding(1) var<storage, read> sequences: array<Sequence>;
@group(0) @binding(2) var<storage, read> u: array<f32>;
@group(0) @binding(3) var<storage, read> b: array<f32>;

// Where output n's row of a slot's B begins; slots count from 1.
fn b_start(slot: u32, n: u32) -> u32 {
    return (slot - 1u) * SLOT_STRIDE + B_OFFSET + n * RANK;
}
