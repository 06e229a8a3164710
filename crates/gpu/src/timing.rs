//! How long dispatches take.

use std::time::Duration;

use crate::context::Gpu;
use crate::error::Result;
use crate::kernel::Dispatch;

impl Gpu {
    /// The time between two stamps that the adapter sets before and after `times` rounds of `dispatches` (each with its
    /// number of rows) in one pass; `None` where the adapter has no stamps, or they make no sense. Once it returns, all
    /// of it is done.
    ///
    /// # Errors
    /// A lost device, or whatever the device refused.
    pub async fn stamped(&self, dispatches: &[(Dispatch, u32)], times: usize) -> Result<Option<Duration>> {
        let stamps = self.features().contains(wgpu::Features::TIMESTAMP_QUERY).then(|| {
            self.device().create_query_set(&wgpu::QuerySetDescriptor {
                label: Some("stamps"),
                ty: wgpu::QueryType::Timestamp,
                count: 2,
            })
        });
        let mut encoder =
            self.device().create_command_encoder(&wgpu::CommandEncoderDescriptor { label: Some("timed") });
        {
            let mut pass = encoder.begin_compute_pass(&wgpu::ComputePassDescriptor {
                label: None,
                timestamp_writes: stamps.as_ref().map(|query_set| wgpu::ComputePassTimestampWrites {
                    query_set,
                    beginning_of_pass_write_index: Some(0),
                    end_of_pass_write_index: Some(1),
                }),
            });
            for (dispatch, rows) in std::iter::repeat_n(dispatches, times).flatten() {
                dispatch.record(&mut pass, dispatch.grid.workgroups(*rows, 0));
            }
        }
        let Some(query_set) = stamps else {
            self.queue().submit([encoder.finish()]);
            return self.finish().await.map(|()| None);
        };
        let resolved = self.device().create_buffer(&wgpu::BufferDescriptor {
            label: Some("stamps"),
            size: 16,
            usage: wgpu::BufferUsages::QUERY_RESOLVE | wgpu::BufferUsages::COPY_SRC,
            mapped_at_creation: false,
        });
        let stamps = self.storage("stamps", 4)?;
        encoder.resolve_query_set(&query_set, 0..2, &resolved, 0);
        encoder.copy_buffer_to_buffer(&resolved, 0, stamps.raw(), 0, 16);
        self.queue().submit([encoder.finish()]);
        let words = self.read::<u32>(&stamps, 0, 4).await?;
        let stamp = |i: usize| words.get(i..i + 2).map_or(0, |w| u64::from(w[0]) | u64::from(w[1]) << 32);
        let ticks = stamp(2).saturating_sub(stamp(0));
        let nanoseconds = ticks as f64 * f64::from(self.queue().get_timestamp_period());
        Ok((ticks > 0).then(|| Duration::from_nanos(nanoseconds as u64)))
    }
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use crate::ops::swiglu;
    use crate::testing::any_gpu;

    #[test]
    fn stamps_lie_within_the_time_that_passes_and_the_work_is_done() {
        let gpu = any_gpu();
        let (rows, ffn) = (64usize, 256);
        let gate_up = gpu.storage_from("gate_up", &vec![1f32; rows * 2 * ffn]).unwrap();
        let h = gpu.storage("h", rows * ffn).unwrap();
        let dispatch = swiglu(&gpu, &gate_up, &h, ffn).unwrap();
        let began = Instant::now();
        let stamped = pollster::block_on(gpu.stamped(&[(dispatch, rows as u32)], 3)).unwrap();
        assert!(stamped.is_none_or(|stamped| stamped <= began.elapsed()), "{stamped:?}");
        let values = pollster::block_on(gpu.read::<f32>(&h, 0, rows * ffn)).unwrap();
        let silu = 1.0 / (1.0 + (-1f32).exp());
        assert!(values.iter().all(|value| (value - silu).abs() < 1e-5));
    }
}
