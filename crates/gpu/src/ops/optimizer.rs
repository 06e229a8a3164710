//! Optimizer steps on the flat parameters of one slot.

use super::require;
use crate::{Buffer, Dispatch, Gpu, GpuError, Grid, Result, Shader, shader};

pub(super) const SHADERS: [Shader; 2] =
    [shader!("adamw", include "optimizer_step"), shader!("sgd", include "optimizer_step")];

/// What changes from one step to the next: the content of the uniform that [`adamw`] and [`sgd`] read. Made for step t
/// on the processor (in f64), written with [`Gpu::write`]; nothing on the device is built again.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Default, bytemuck::Pod, bytemuck::Zeroable)]
pub struct OptimizerStep {
    step_size: f32,
    decay: f32,
    one_minus_beta1: f32,
    beta2: f32,
    one_minus_beta2: f32,
    correction2: f32,
    epsilon: f32,
    max_norm: f32,
    offset: u32,
    padding: [u32; 3],
}

/// Hyper-parameters of AdamW, named and meant as in `torch.optim.AdamW`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct AdamWSettings {
    /// Learning rate.
    pub learning_rate: f64,
    /// Decay of the first moment.
    pub beta1: f64,
    /// Decay of the second moment.
    pub beta2: f64,
    /// Added to the root of the second moment.
    pub epsilon: f64,
    /// Decoupled weight decay.
    pub weight_decay: f64,
}

impl OptimizerStep {
    /// Step `t` (from 1) of AdamW on the parameters from element `offset` of their buffer; gradients longer than
    /// `max_norm` (Euclidean norm) are shortened to it.
    pub fn adamw(settings: &AdamWSettings, t: u32, offset: u32, max_norm: Option<f32>) -> Self {
        let t = f64::from(t.max(1));
        Self {
            step_size: (settings.learning_rate / (1.0 - settings.beta1.powf(t))) as f32,
            decay: (1.0 - settings.learning_rate * settings.weight_decay) as f32,
            one_minus_beta1: (1.0 - settings.beta1) as f32,
            beta2: settings.beta2 as f32,
            one_minus_beta2: (1.0 - settings.beta2) as f32,
            correction2: (1.0 - settings.beta2.powf(t)).sqrt() as f32,
            epsilon: settings.epsilon as f32,
            max_norm: max_norm.unwrap_or(0.0),
            offset,
            padding: [0; 3],
        }
    }

    /// A step of plain gradient descent; `offset` and `max_norm` as in [`adamw`](Self::adamw).
    pub fn sgd(learning_rate: f64, weight_decay: f64, offset: u32, max_norm: Option<f32>) -> Self {
        Self {
            step_size: learning_rate as f32,
            decay: (1.0 - learning_rate * weight_decay) as f32,
            max_norm: max_norm.unwrap_or(0.0),
            offset,
            ..Self::default()
        }
    }
}

/// What both optimizers work on.
#[derive(Debug, Clone, Copy)]
pub struct OptimizerBuffers<'a> {
    /// Gradient, \[length\].
    pub gradient: &'a Buffer,
    /// Parameters; `length` elements from the step's offset on are changed.
    pub parameters: &'a Buffer,
    /// What [`gradient_norm`](super::gradient_norm) made of `gradient`. Where it counts elements that are not finite, the
    /// step changes nothing.
    pub norm: &'a Buffer,
    /// Uniform, an [`OptimizerStep`].
    pub step: &'a Buffer,
    /// Number of parameters.
    pub length: usize,
}

impl OptimizerBuffers<'_> {
    fn grid(&self, op: &'static str) -> Result<Grid> {
        require(op, self.gradient, self.length)?;
        require(op, self.parameters, self.length)?;
        require(op, self.norm, 2)?;
        require(op, self.step, size_of::<OptimizerStep>() / 4)?;
        let groups = self.length.div_ceil(64);
        let groups = u32::try_from(groups).ok().filter(|&groups| groups <= 65_535).ok_or_else(|| GpuError::Shape {
            op,
            reason: format!("{} parameters are more than one launch covers (4,194,240)", self.length),
        })?;
        Ok(Grid::flat(groups))
    }
}

/// One step of AdamW with the moments `m` and `v` \[length\], zero before the first step.
///
/// # Errors
/// Buffers too small, more parameters than one launch covers, or a failure of the device.
pub fn adamw(gpu: &Gpu, args: OptimizerBuffers<'_>, m: &Buffer, v: &Buffer) -> Result<Dispatch> {
    let grid = args.grid("adamw")?;
    require("adamw", m, args.length)?;
    require("adamw", v, args.length)?;
    let kernel = gpu.kernel(&SHADERS[0], "adamw", &[("LENGTH", args.length as f64)])?;
    let buffers = [(0, args.gradient), (1, m), (2, v), (3, args.parameters), (4, args.norm), (5, args.step)];
    gpu.bind(&kernel, grid, &buffers)
}

/// One step of plain gradient descent.
///
/// # Errors
/// As [`adamw`].
pub fn sgd(gpu: &Gpu, args: OptimizerBuffers<'_>) -> Result<Dispatch> {
    let grid = args.grid("sgd")?;
    let kernel = gpu.kernel(&SHADERS[1], "sgd", &[("LENGTH", args.length as f64)])?;
    let buffers = [(0, args.gradient), (1, args.parameters), (2, args.norm), (3, args.step)];
    gpu.bind(&kernel, grid, &buffers)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Rng, TestGpu, assert_close, on_every_kind};
    use crate::twins;

    const SETTINGS: AdamWSettings =
        AdamWSettings { learning_rate: 1e-2, beta1: 0.9, beta2: 0.999, epsilon: 1e-8, weight_decay: 0.1 };
    const OFFSET: usize = 5;

    struct Run<'g> {
        gpu: &'g TestGpu,
        gradient: Buffer,
        parameters: Buffer,
        norm: Buffer,
        step: Buffer,
        m: Buffer,
        v: Buffer,
        length: usize,
    }

    impl<'g> Run<'g> {
        fn new(gpu: &'g TestGpu, start: &[f32], length: usize) -> Self {
            Self {
                gpu,
                gradient: gpu.poisoned("gradient", length),
                parameters: gpu.upload(start),
                norm: gpu.poisoned("norm", 2),
                step: gpu.uniform("step", &OptimizerStep::default()).unwrap(),
                m: gpu.upload(&vec![0f32; length]),
                v: gpu.upload(&vec![0f32; length]),
                length,
            }
        }

        fn buffers(&self) -> OptimizerBuffers<'_> {
            OptimizerBuffers {
                gradient: &self.gradient,
                parameters: &self.parameters,
                norm: &self.norm,
                step: &self.step,
                length: self.length,
            }
        }

        fn step(&self, gradient: &[f32], step: OptimizerStep, dispatch: &Dispatch) -> Vec<f32> {
            self.gpu.write(&self.gradient, 0, gradient);
            self.gpu.write(&self.step, 0, &[step]);
            let norm = crate::ops::gradient_norm(self.gpu, &self.gradient, self.length, &self.norm).unwrap();
            self.gpu.run(&norm, 1, &self.norm);
            self.gpu.run(dispatch, 1, &self.parameters)
        }
    }

    #[test]
    fn adamw_agrees_with_pytorchs_formula_over_several_steps() {
        on_every_kind(|gpu| {
            for (length, max_norm) in [(1, None), (63, Some(1.0)), (64, None), (257, Some(1e6)), (1000, Some(0.5))] {
                let mut rng = Rng::new(length as u64);
                let start = rng.normal(length + 2 * OFFSET);
                let gradients: Vec<_> = (0..4).map(|_| rng.normal(length)).collect();
                let (mut m, mut v) = (vec![0.0; length], vec![0.0; length]);
                let mut want = twins::double(&start);
                let (run, again) = (Run::new(gpu, &start, length), Run::new(gpu, &start, length));
                let dispatch = adamw(gpu, run.buffers(), &run.m, &run.v).unwrap();
                let second = adamw(gpu, again.buffers(), &again.m, &again.v).unwrap();
                for (t, gradient) in (1..).zip(&gradients) {
                    let part = &mut want[OFFSET..OFFSET + length];
                    twins::adamw_step(&SETTINGS, t, max_norm, gradient, [&mut m, &mut v], part);
                    let step = OptimizerStep::adamw(&SETTINGS, t as u32, OFFSET as u32, max_norm);
                    let got = run.step(gradient, step, &dispatch);
                    assert_close(&got, &want, 1e-6);
                    assert_eq!(got, again.step(gradient, step, &second), "a second run must give the same bits");
                }
            }
        });
    }

    #[test]
    fn sgd_agrees_with_its_formula() {
        on_every_kind(|gpu| {
            for (length, max_norm) in [(1, None), (65, Some(1.0)), (257, None)] {
                let mut rng = Rng::new(length as u64);
                let (start, gradient) = (rng.normal(length + 2 * OFFSET), rng.normal(length));
                let mut want = twins::double(&start);
                twins::sgd_step(0.05, 0.1, max_norm, &gradient, &mut want[OFFSET..OFFSET + length]);
                let run = Run::new(gpu, &start, length);
                let step = OptimizerStep::sgd(0.05, 0.1, OFFSET as u32, max_norm);
                let got = run.step(&gradient, step, &sgd(gpu, run.buffers()).unwrap());
                assert_close(&got, &want, 1e-6);
            }
        });
    }

    #[test]
    fn a_broken_gradient_changes_nothing() {
        on_every_kind(|gpu| {
            let start = [1.0f32, 2.0, 3.0];
            let run = Run::new(gpu, &start, 3);
            let gradient = [0.5, f32::NAN, 0.5];
            let dispatch = adamw(gpu, run.buffers(), &run.m, &run.v).unwrap();
            assert_eq!(run.step(&gradient, OptimizerStep::adamw(&SETTINGS, 1, 0, None), &dispatch), start);
            assert_eq!(gpu.floats(&run.m), [0.0; 3]);
            let dispatch = sgd(gpu, run.buffers()).unwrap();
            assert_eq!(run.step(&gradient, OptimizerStep::sgd(0.1, 0.0, 0, None), &dispatch), start);
        });
    }
}
