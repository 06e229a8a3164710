// 8 sums of four at once, for the kernels of adapters.

// For four outputs or rows, 8 columns of B; in lora_up and lora_backward_x, for four outputs or elements of the input, 8 rows.
struct Columns {
    c0: vec4<f32>,
    c1: vec4<f32>,
    c2: vec4<f32>,
    c3: vec4<f32>,
    c4: vec4<f32>,
    c5: vec4<f32>,
    c6: vec4<f32>,
    c7: vec4<f32>,
}

// Adds `upstream` times a factor of each column, of which there are `columns`: four in `low`, four in `high`.
fn add(sum: Columns, columns: u32, upstream: vec4<f32>, low: vec4<f32>, high: vec4<f32>) -> Columns {
    var s = sum;
    s.c0 += upstream * low.x;
    if columns > 1u {
        s.c1 += upstream * low.y;
    }
    if columns > 2u {
        s.c2 += upstream * low.z;
    }
    if columns > 3u {
        s.c3 += upstream * low.w;
    }
    if columns > 4u {
        s.c4 += upstream * high.x;
    }
    if columns > 5u {
        s.c5 += upstream * high.y;
    }
    if columns > 6u {
        s.c6 += upstream * high.z;
    }
    if columns > 7u {
        s.c7 += upstream * high.w;
    }
    return s;
}
