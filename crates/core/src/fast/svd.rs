//! Truncated SVD of the adapted weights, the source of A (arXiv 2606.04536).
//!
//! Only the largest r of several hundred singular values are wanted, of matrices that lie quantised on the GPU. So the
//! GPU multiplies blocks of vectors with WᵀW and the CPU does the rest in f64: randomised block Krylov iteration with
//! full reorthogonalisation and Rayleigh–Ritz (Musco & Musco 2015, arXiv 1504.05477, algorithm 2). Its basis keeps all
//! earlier blocks, which needs the square root of the products that plain block power iteration needs, and in the
//! worst case ends with the exact answer, when the basis spans everything.
//!
//! The search itself does no input or output: [`truncated_svd`] runs all sites in step, so that one submission and one
//! read-back serve them all. Sums have a fixed order and nothing depends on the platform's mathematics library.

use nalgebra::{DMatrix, SymmetricEigen};
use rand::{Rng as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;

use crate::settings::Init;

/// Vectors in a block beyond the rank: they separate the wanted vectors from the next ones.
const OVERSAMPLING: usize = 4;
/// Products with WᵀW after which the search ends in any case; the residual then says how good it is.
const MAX_PRODUCTS: usize = 32;
/// Products between two looks at the residual. A look costs a dense eigendecomposition on the CPU, a product next to
/// nothing on the GPU. (SmolLM2's projections need 9 to 20 products at rank 6.)
const PRODUCTS_PER_LOOK: usize = 4;
/// Residual relative to σ_1² at which the search ends. f32 products reach about 1e-6.
const TOLERANCE: f64 = 1e-5;

/// Why there is no decomposition.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SvdError {
    /// The rank is zero or larger than the matrix.
    #[error("rank {rank} is not between 1 and {inputs}, the inputs of the adapted projection: set another rank")]
    Rank {
        /// The rank asked for.
        rank: usize,
        /// Length of the right singular vectors.
        inputs: usize,
    },
    /// A product has another length than its block.
    #[error("a product has {got} numbers, expected {expected}: a bug in tmem")]
    Shape {
        /// Numbers in the block.
        expected: usize,
        /// Numbers given.
        got: usize,
    },
    /// A product is not finite: the weights are damaged or the GPU computes wrongly.
    #[error("the product with a weight matrix is not finite: the model file is damaged or the GPU computes wrongly")]
    NotFinite,
}

/// The largest singular values of a matrix W [outputs, inputs] and their right singular vectors.
#[derive(Debug, Clone, PartialEq)]
pub struct Spectrum {
    /// σ_1 ≥ … ≥ σ_r.
    pub singular_values: Vec<f32>,
    /// V_rᵀ, [rank, inputs]. The largest component of each vector is positive.
    pub vectors: Vec<f32>,
    /// Largest entry of |V_rᵀ V_r − I|.
    pub orthonormality_error: f32,
    /// Largest ‖WᵀW v − σ² v‖ / σ_1².
    pub residual: f32,
    /// Products with WᵀW that it took.
    pub products: usize,
}

impl Spectrum {
    /// A [rank, inputs] for this start. `Random` has normal entries and the Frobenius norm of Σ_r V_rᵀ.
    pub fn initial_a(&self, init: Init, seed: u64) -> Vec<f32> {
        let inputs = self.vectors.len() / self.singular_values.len().max(1);
        match init {
            Init::PlainV => self.vectors.clone(),
            Init::Svd => {
                let scaled = |(row, sigma): (&[f32], &f32)| row.iter().map(|v| v * sigma).collect::<Vec<_>>();
                self.vectors.chunks(inputs.max(1)).zip(&self.singular_values).flat_map(scaled).collect()
            }
            Init::Random => {
                let mut rng = ChaCha8Rng::seed_from_u64(seed);
                let entries: Vec<f64> = (0..self.vectors.len()).map(|_| normal(&mut rng)).collect();
                let wanted: f64 = self.singular_values.iter().map(|&s| f64::from(s).powi(2)).sum();
                let scale = (wanted / dot(&entries, &entries)).sqrt();
                entries.into_iter().map(|x| (x * scale) as f32).collect()
            }
        }
    }
}

/// A standard normal number (Box & Muller 1958).
fn normal(rng: &mut ChaCha8Rng) -> f64 {
    let (u, v): (f64, f64) = (rng.random(), rng.random());
    // 1 − u lies in (0, 1], where the logarithm is finite.
    (-2.0 * (1.0 - u).ln()).sqrt() * (std::f64::consts::TAU * v).cos()
}

/// Eight partial sums, so that additions need not wait for each other; their order is fixed.
fn dot(a: &[f64], b: &[f64]) -> f64 {
    let ((a, a_rest), (b, b_rest)) = (a.as_chunks::<8>(), b.as_chunks::<8>());
    let mut lanes = [0.0; 8];
    for (a, b) in a.iter().zip(b) {
        for ((lane, x), y) in lanes.iter_mut().zip(a).zip(b) {
            *lane += x * y;
        }
    }
    let rest: f64 = a_rest.iter().zip(b_rest).map(|(x, y)| x * y).sum();
    lanes.iter().sum::<f64>() + rest
}

/// y += scale · x.
fn add_scaled(y: &mut [f64], scale: f64, x: &[f64]) {
    y.iter_mut().zip(x).for_each(|(y, x)| *y += scale * x);
}

/// Takes out of `row` what lies along the unit vector `known`.
fn remove(row: &mut [f64], known: &[f64]) {
    add_scaled(row, -dot(known, row), known);
}

/// Rows weighted and summed.
fn combine(weights: impl Iterator<Item = f64>, rows: &[Vec<f64>], inputs: usize) -> Vec<f64> {
    let mut sum = vec![0.0; inputs];
    weights.zip(rows).for_each(|(weight, row)| add_scaled(&mut sum, weight, row));
    sum
}

/// The decomposition of one matrix in progress: [`SpectrumSearch::block`] says what to multiply next,
/// [`SpectrumSearch::accept`] takes the product.
#[derive(Debug, Clone)]
pub struct SpectrumSearch {
    inputs: usize,
    rank: usize,
    rng: ChaCha8Rng,
    /// Orthonormal rows, rounded to the f32 that the GPU gets.
    basis: Vec<Vec<f64>>,
    /// Row i times WᵀW; shorter than the basis by the block in flight.
    images: Vec<Vec<f64>>,
    /// Basis · WᵀW · basisᵀ, by rows of its lower triangle.
    projected: Vec<Vec<f64>>,
    products: usize,
    /// The rows in flight, [rows, inputs]; empty at the end.
    block: Vec<f32>,
    found: Option<Spectrum>,
}

impl SpectrumSearch {
    /// Begins with random vectors for a matrix with this many inputs.
    ///
    /// # Errors
    /// The rank is zero or larger than `inputs`.
    pub fn new(inputs: usize, rank: usize, seed: u64) -> Result<Self, SvdError> {
        if rank == 0 || rank > inputs {
            return Err(SvdError::Rank { rank, inputs });
        }
        let mut search = Self {
            inputs,
            rank,
            rng: ChaCha8Rng::seed_from_u64(seed),
            basis: Vec::new(),
            images: Vec::new(),
            projected: Vec::new(),
            products: 0,
            block: Vec::new(),
            found: None,
        };
        let start = (0..rank + OVERSAMPLING).map(|_| search.random_row()).collect();
        search.extend_basis(start);
        Ok(search)
    }

    /// Rows X [rows, inputs] whose product X WᵀW is needed next; empty once the search has ended.
    pub fn block(&self) -> &[f32] {
        &self.block
    }

    /// Takes X WᵀW [rows, inputs] for the rows of [`SpectrumSearch::block`].
    ///
    /// # Errors
    /// Another length, or numbers that are not finite.
    pub fn accept(&mut self, product: &[f32]) -> Result<(), SvdError> {
        if product.len() != self.block.len() {
            return Err(SvdError::Shape { expected: self.block.len(), got: product.len() });
        }
        if product.iter().any(|x| !x.is_finite()) {
            return Err(SvdError::NotFinite);
        }
        self.block.clear();
        self.products += 1;
        let first = self.images.len();
        self.images.extend(product.chunks_exact(self.inputs).map(|row| row.iter().map(|&x| x.into()).collect()));
        for (i, row) in self.basis.iter().enumerate().skip(first) {
            self.projected.push(self.images.iter().take(i + 1).map(|image| dot(row, image)).collect());
        }
        let ended = self.products >= MAX_PRODUCTS || self.basis.len() == self.inputs;
        if ended || self.products.is_multiple_of(PRODUCTS_PER_LOOK) {
            let spectrum = self.rayleigh_ritz();
            if ended || f64::from(spectrum.residual) <= TOLERANCE {
                self.found = Some(spectrum);
                return Ok(());
            }
        }
        self.extend_basis(self.images.iter().skip(first).cloned().collect());
        Ok(())
    }

    /// The result, once the search has ended.
    pub fn finish(self) -> Option<Spectrum> {
        self.found
    }

    fn random_row(&mut self) -> Vec<f64> {
        (0..self.inputs).map(|_| self.rng.random_range(-1.0..1.0)).collect()
    }

    /// Adds the part of each row that is new, normalised, and puts it in flight. A row without a new part (the matrix
    /// has fewer singular values than that) gives way to a random one.
    fn extend_basis(&mut self, rows: Vec<Vec<f64>>) {
        for mut row in rows {
            while self.basis.len() < self.inputs {
                let before = dot(&row, &row).sqrt();
                // Twice is enough (Parlett): the second pass removes what rounding left in the first.
                for _ in 0..2 {
                    for known in &self.basis {
                        remove(&mut row, known);
                    }
                }
                let after = dot(&row, &row).sqrt();
                if after > before * 1e-7 && after > f64::MIN_POSITIVE {
                    let unit: Vec<f32> = row.iter().map(|x| (x / after) as f32).collect();
                    self.basis.push(unit.iter().map(|&x| x.into()).collect());
                    self.block.extend(unit);
                    break;
                }
                row = self.random_row();
            }
        }
    }

    /// The best approximations that the basis holds.
    fn rayleigh_ritz(&self) -> Spectrum {
        let size = self.images.len();
        let entry = |i: usize, j: usize| self.projected.get(i.max(j)).and_then(|row| row.get(i.min(j)));
        let projected = DMatrix::from_fn(size, size, |i, j| entry(i, j).copied().unwrap_or_default());
        let eigen = SymmetricEigen::new(projected);
        let mut order: Vec<usize> = (0..size).collect();
        order.sort_by(|&i, &j| eigen.eigenvalues[j].total_cmp(&eigen.eigenvalues[i]));
        let largest = order.first().map_or(0.0, |&i| eigen.eigenvalues[i]);
        let (mut singular_values, mut rows) = (Vec::new(), Vec::<Vec<f64>>::new());
        let mut residual = 0.0_f64;
        for &i in order.iter().take(self.rank) {
            let weights = || eigen.eigenvectors.column(i).into_iter().copied();
            let mut vector = combine(weights(), &self.basis, self.inputs);
            // The basis is orthonormal to f32 only; the vector shall be in f64.
            for known in &rows {
                remove(&mut vector, known);
            }
            let peak = vector.iter().fold(0.0_f64, |peak, &x| if x.abs() > peak.abs() { x } else { peak });
            let scale = dot(&vector, &vector).sqrt().copysign(peak);
            vector.iter_mut().for_each(|x| *x /= scale);
            let mut difference = combine(weights(), &self.images, self.inputs);
            add_scaled(&mut difference, -eigen.eigenvalues[i] * scale, &vector);
            residual = residual.max(dot(&difference, &difference).sqrt());
            singular_values.push(eigen.eigenvalues[i].max(0.0).sqrt() as f32);
            rows.push(vector);
        }
        let stored: Vec<Vec<f64>> = rows.iter().map(|row| row.iter().map(|&x| f64::from(x as f32)).collect()).collect();
        let mut orthonormality_error = 0.0_f64;
        for (i, a) in stored.iter().enumerate() {
            for (j, b) in stored.iter().enumerate().take(i + 1) {
                orthonormality_error = orthonormality_error.max((dot(a, b) - f64::from(u8::from(i == j))).abs());
            }
        }
        Spectrum {
            singular_values,
            vectors: rows.iter().flatten().map(|&x| x as f32).collect(),
            orthonormality_error: orthonormality_error as f32,
            residual: if largest > 0.0 { (residual / largest) as f32 } else { 0.0 },
            products: self.products,
        }
    }
}

/// Decomposes several matrices in step. `inputs` are their row lengths; `gram` gets one block X [rows, inputs] for
/// each (empty for those that are done) and gives X WᵀW for each, one submission and one read-back for all.
///
/// # Errors
/// Those of `gram`, or of [`SpectrumSearch`].
pub async fn truncated_svd<E: From<SvdError>>(
    inputs: &[usize],
    rank: usize,
    seed: u64,
    mut gram: impl AsyncFnMut(&[&[f32]]) -> Result<Vec<Vec<f32>>, E>,
) -> Result<Vec<Spectrum>, E> {
    let search = |(site, &inputs)| SpectrumSearch::new(inputs, rank, seed.wrapping_add(site));
    let mut searches = (0_u64..).zip(inputs).map(search).collect::<Result<Vec<_>, _>>()?;
    while searches.iter().any(|search| !search.block().is_empty()) {
        let blocks: Vec<&[f32]> = searches.iter().map(SpectrumSearch::block).collect();
        let products = gram(&blocks).await?;
        if products.len() != searches.len() {
            return Err(SvdError::Shape { expected: searches.len(), got: products.len() }.into());
        }
        for (search, product) in searches.iter_mut().zip(products) {
            if !search.block().is_empty() {
                search.accept(&product)?;
            }
        }
    }
    Ok(searches.into_iter().filter_map(SpectrumSearch::finish).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn matrix(rng: &mut ChaCha8Rng, rows: usize, columns: usize) -> DMatrix<f64> {
        DMatrix::from_fn(rows, columns, |_, _| normal(rng))
    }

    /// Runs the search with products computed in f64 and rounded to f32, as a GPU gives them.
    fn decompose(weights: &[DMatrix<f64>], rank: usize, seed: u64) -> Vec<Spectrum> {
        let inputs: Vec<usize> = weights.iter().map(DMatrix::ncols).collect();
        let gram = async |blocks: &[&[f32]]| {
            let product = |(block, w): (&&[f32], &DMatrix<f64>)| {
                let rows = block.len() / w.ncols();
                let x = DMatrix::from_row_iterator(rows, w.ncols(), block.iter().map(|&x| f64::from(x)));
                let z = x * w.transpose() * w;
                z.transpose().iter().map(|&z| z as f32).collect()
            };
            Ok::<Vec<Vec<f32>>, SvdError>(blocks.iter().zip(weights).map(product).collect())
        };
        pollster::block_on(truncated_svd(&inputs, rank, seed, gram)).unwrap()
    }

    #[test]
    fn agrees_with_a_dense_decomposition_on_ragged_shapes() {
        let mut rng = ChaCha8Rng::seed_from_u64(1);
        let shapes = [(1, 6), (7, 5), (33, 64), (64, 33), (96, 257), (200, 120)];
        let weights: Vec<_> = shapes.iter().map(|&(rows, columns)| matrix(&mut rng, rows, columns)).collect();
        let spectra = decompose(&weights, 5, 7);
        for (w, spectrum) in weights.iter().zip(&spectra) {
            let svd = w.clone().svd(false, true);
            let mut dense: Vec<(f64, Vec<f64>)> = svd
                .singular_values
                .iter()
                .zip(svd.v_t.unwrap().row_iter())
                .map(|(&s, v)| (s, v.iter().copied().collect()))
                .collect();
            dense.sort_by(|a, b| b.0.total_cmp(&a.0));
            let largest = dense[0].0;
            for (i, vector) in spectrum.vectors.chunks(w.ncols()).enumerate() {
                let (sigma, reference) = dense.get(i).cloned().unwrap_or((0.0, vec![]));
                // A square root doubles the digits lost at a singular value of zero.
                let tolerance = if sigma > 0.0 { 1e-5 } else { 2e-3 };
                assert!((f64::from(spectrum.singular_values[i]) - sigma).abs() <= tolerance * largest, "σ_{i}");
                if sigma > 0.0 {
                    let cosine: f64 = vector.iter().zip(&reference).map(|(&a, b)| f64::from(a) * b).sum();
                    assert!(1.0 - cosine.abs() < 1e-4, "v_{i}: cosine {cosine}");
                }
                let peak = vector.iter().fold(0.0_f32, |peak, &x| if x.abs() > peak.abs() { x } else { peak });
                assert!(peak > 0.0, "the largest component is positive");
            }
            assert!(spectrum.orthonormality_error < 1e-6, "{}", spectrum.orthonormality_error);
            assert!(spectrum.residual <= 1e-5, "{} after {}", spectrum.residual, spectrum.products);
        }
        assert_eq!(spectra, decompose(&weights, 5, 7), "a second run must give the same bits");
    }

    #[test]
    fn the_seed_hardly_matters() {
        let w = matrix(&mut ChaCha8Rng::seed_from_u64(2), 40, 80);
        let (a, b) = (&decompose(std::slice::from_ref(&w), 3, 0)[0], &decompose(&[w], 3, 99)[0]);
        assert_ne!(a.vectors, b.vectors);
        assert!(a.vectors.iter().zip(&b.vectors).all(|(x, y)| (x - y).abs() < 1e-2));
    }

    #[test]
    fn a_matrix_of_low_rank_or_of_zeros_still_gives_orthonormal_vectors() {
        let mut rng = ChaCha8Rng::seed_from_u64(3);
        let low = matrix(&mut rng, 20, 2) * matrix(&mut rng, 2, 30);
        for spectrum in decompose(&[low, DMatrix::zeros(4, 30)], 6, 0) {
            assert!(spectrum.orthonormality_error < 1e-6 && spectrum.residual < 1e-5);
            assert!(spectrum.singular_values.iter().skip(2).all(|&s| s < 0.1));
        }
    }

    #[test]
    fn starts_have_the_promised_norms() {
        let w = matrix(&mut ChaCha8Rng::seed_from_u64(4), 24, 40);
        let spectrum = &decompose(&[w], 4, 0)[0];
        let squared = |a: &[f32]| a.iter().map(|&x| f64::from(x).powi(2)).sum::<f64>();
        let wanted = squared(&spectrum.singular_values);
        assert!((squared(&spectrum.initial_a(Init::Svd, 0)) / wanted - 1.0).abs() < 1e-5);
        assert!((squared(&spectrum.initial_a(Init::PlainV, 0)) - 4.0).abs() < 1e-5);
        let random = spectrum.initial_a(Init::Random, 5);
        assert!((squared(&random) / wanted - 1.0).abs() < 1e-5);
        assert_eq!(random, spectrum.initial_a(Init::Random, 5));
        assert_ne!(random, spectrum.initial_a(Init::Random, 6));
    }

    /// min_B ‖Δ* − B A‖_F², by projecting Δ* onto the complement of A's rows.
    fn least_error(wanted: &DMatrix<f64>, a: &[f32]) -> f64 {
        let a = DMatrix::from_row_iterator(a.len() / wanted.ncols(), wanted.ncols(), a.iter().map(|&x| f64::from(x)));
        let rows = a.transpose().qr().q();
        (wanted - wanted * &rows * rows.transpose()).norm_squared()
    }

    #[test]
    fn the_theorem_of_the_paper_holds_numerically() {
        // E(A_svd) = (1 − ρ_r)‖Δ*‖² with ρ_r the share of Δ* in the top-r right singular subspace; a random
        // A gives (1 − r/d_in)‖Δ*‖² in expectation.
        let (rank, inputs, outputs, draws) = (6, 48, 32, 200);
        let mut rng = ChaCha8Rng::seed_from_u64(6);
        let w = matrix(&mut rng, outputs, inputs);
        let spectrum = &decompose(std::slice::from_ref(&w), rank, 0)[0];
        let v = DMatrix::from_row_iterator(rank, inputs, spectrum.vectors.iter().map(|&x| f64::from(x)));
        let v = v.transpose();
        // An update that resembles the weights (gradients live in the same input space) has ρ_r > r/d_in.
        for wanted in [matrix(&mut rng, outputs, inputs), &w * 0.5 + matrix(&mut rng, outputs, inputs) * 0.5] {
            let total = wanted.norm_squared();
            let rho = (&wanted * &v).norm_squared() / total;
            for init in [Init::Svd, Init::PlainV] {
                let error = least_error(&wanted, &spectrum.initial_a(init, 0));
                assert!((error / total - (1.0 - rho)).abs() < 1e-5, "{init:?}");
            }
            let random = |seed| least_error(&wanted, &spectrum.initial_a(Init::Random, seed)) / total;
            let mean = (0..draws).map(random).sum::<f64>() / draws as f64;
            let expected = 1.0 - rank as f64 / inputs as f64;
            // The mean of 200 draws scatters by about 0.002 here.
            assert!((mean - expected).abs() < 0.01, "{mean} against {expected}");
        }
        let like_w = &w * 0.5 + matrix(&mut rng, outputs, inputs) * 0.5;
        let error = least_error(&like_w, &spectrum.initial_a(Init::Svd, 0)) / like_w.norm_squared();
        assert!(error < 1.0 - rank as f64 / inputs as f64, "better than random where Δ* leans on W: {error}");
    }

    #[test]
    fn wrong_ranks_and_products_are_errors() {
        assert_eq!(SpectrumSearch::new(4, 0, 0).unwrap_err(), SvdError::Rank { rank: 0, inputs: 4 });
        assert_eq!(SpectrumSearch::new(4, 5, 0).unwrap_err(), SvdError::Rank { rank: 5, inputs: 4 });
        let mut search = SpectrumSearch::new(8, 2, 0).unwrap();
        assert_eq!(search.accept(&[0.0; 3]), Err(SvdError::Shape { expected: 48, got: 3 }));
        assert_eq!(search.accept(&[f32::NAN; 48]), Err(SvdError::NotFinite));
        assert_eq!(search.finish(), None);
    }
}
