// What the kernels with tiles in workgroup memory share (matmul_workgroup.wgsl, matmul_transposed_workgroup.wgsl).

// Four outputs of one row: adds the products of four factors of the row and four weights of each output, w[i] being the
// weights that factor i takes, one after the other.
fn add_four(sum: vec4<f32>, factors: vec4<f32>, w: mat4x4<f32>) -> vec4<f32> {
    var s = sum + factors.x * w[0];
    s += factors.y * w[1];
    s += factors.z * w[2];
    return s + factors.w * w[3];
}
