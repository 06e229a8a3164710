// AdamW (Loshchilov and Hutter, arXiv 1711.05101) in the form of torch.optim.AdamW, with clipping by the global norm:
//   g = clip * gradient,  p <- decay * p,  m <- m + (1 - beta1) (g - m),  v <- beta2 v + (1 - beta2) g²,
//   p <- p - step_size * m / (√v / correction2 + epsilon).
// Shapes: gradient, m, v [LENGTH]; parameters: LENGTH elements from step.offset on; norm [2] (gradient_norm).
// A gradient with elements that are not finite (norm[1] > 0) changes nothing. Needs include/optimizer_step.

override LENGTH: u32;

@group(0) @binding(0) var<storage, read> gradient: array<f32>;
@group(0) @binding(1) var<storage, read_write> m: array<f32>;
@group(0) @binding(2) var<storage, read_write> v: array<f32>;
@group(0) @binding(3) var<storage, read_write> parameters: array<f32>;
@group(0) @binding(4) var<storage, read> norm: array<f32>;
@group(0) @binding(5) var<uniform> step: OptimizerStep;

@compute @workgroup_size(64)
fn adamw(@builtin(global_invocation_id) id: vec3<u32>) {
    let i = id.x;
    if i >= LENGTH || norm[1] > 0.0 {
        return;
    }
    let g = clip(step, norm[0]) * gradient[i];
    let first = m[i] + step.one_minus_beta1 * (g - m[i]);
    let second = step.beta2 * v[i] + step.one_minus_beta2 * g * g;
    m[i] = first;
    v[i] = second;
    let at = step.offset + i;
    parameters[at] = step.decay * parameters[at] - step.step_size * first / (sqrt(second) / step.correction2 + step.epsilon);
}
