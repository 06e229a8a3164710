// What goes into a product (matmul_workgroup.wgsl, projection_workgroup.wgsl), as it is. One of two includes with the same
// functions:
//   Four              four numbers in workgroup memory
//   kept(v), taken(f) to them and from them
//   rounded(v)        numbers as a product takes them: taken(kept(v))
//   BANKS             outputs whose 16 columns together go round all banks of workgroup memory (32 of 4 bytes)

alias Four = vec4<f32>;

const BANKS = 2u;

fn kept(v: vec4<f32>) -> Four {
    return v;
}

fn taken(four: Four) -> vec4<f32> {
    return four;
}

fn rounded(v: vec4<f32>) -> vec4<f32> {
    return v;
}
