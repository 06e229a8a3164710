//! Δ as a PEFT adapter, and back.

use super::spectrum::gram;
use super::state::delta_id;
use super::{Engine, EngineError};
use crate::card::Card;
use crate::fast::peft::{PeftAdapter, PeftSite};

impl Engine {
    /// A and B of every site, for [`PeftAdapter::export`].
    ///
    /// # Errors
    /// Settings without sites, or a failure of the GPU.
    pub async fn export_peft(&mut self) -> Result<PeftAdapter, EngineError> {
        let adapter = self.adapter.as_ref().ok_or(EngineError::NoSites)?;
        let rank = adapter.sites.rank;
        let a: Vec<f32> = self.gpu.read(&adapter.a, 0, adapter.sites.a_len).await?;
        let b = self.read_b().await?;
        let sites = adapter
            .sites
            .sites
            .iter()
            .map(|site| PeftSite {
                layer: site.layer,
                projection: site.projection,
                a: a[site.a_offset..][..rank * site.inputs].to_vec(),
                b: b[site.b_offset..][..rank * site.outputs].to_vec(),
                inputs: site.inputs,
                outputs: site.outputs,
            })
            .collect();
        Ok(PeftAdapter { rank, sites })
    }

    /// Takes an adapter into use in place of Δ, its A included. `cards` are those it was trained on, for the gate and
    /// for forgetting; without any the gate stays shut, so switch it off for a foreign adapter.
    ///
    /// # Errors
    /// Another rank or other sites than the settings have, or a failure of the GPU; Δ is then what it was.
    pub async fn import_peft(&mut self, imported: &PeftAdapter, cards: &[Card]) -> Result<(), EngineError> {
        let adapter = self.adapter.as_ref().ok_or(EngineError::NoSites)?;
        let sites = &adapter.sites;
        if imported.rank != sites.rank {
            let reason = format!("it has rank {}, the settings have {}: set fast.rank", imported.rank, sites.rank);
            return Err(EngineError::Adapter(reason));
        }
        if imported.sites.len() != sites.sites.len() {
            let reason = format!(
                "it adapts {} projections, the settings {}: set fast.layers and fast.sites",
                imported.sites.len(),
                sites.sites.len()
            );
            return Err(EngineError::Adapter(reason));
        }
        let (mut a, mut b) = (vec![0.0; sites.a_len], vec![0.0; sites.b_len]);
        for site in &sites.sites {
            let found = imported.sites.iter().find(|s| (s.layer, s.projection) == (site.layer, site.projection));
            let found = found.filter(|s| (s.inputs, s.outputs) == (site.inputs, site.outputs)).ok_or_else(|| {
                let name = site.projection.name();
                EngineError::Adapter(format!("it has no {name} of layer {} in this model's shape", site.layer))
            })?;
            if found.a.len() != sites.rank * site.inputs || found.b.len() != sites.rank * site.outputs {
                return Err(EngineError::Adapter(format!(
                    "{} of layer {} is cut short",
                    site.projection.name(),
                    site.layer
                )));
            }
            a[site.a_offset..][..found.a.len()].copy_from_slice(&found.a);
            b[site.b_offset..][..found.b.len()].copy_from_slice(&found.b);
        }
        if !a.iter().chain(&b).all(|v| v.is_finite()) {
            return Err(EngineError::Adapter("it holds numbers that are not finite".into()));
        }
        self.set_imported_a(&a)?;
        let adapter = self.adapter.as_ref().ok_or(EngineError::NoSites)?;
        self.gpu.write(&adapter.b, 0, &b);
        self.delta = delta_id(1, &b);
        self.cards = cards.to_vec();
        self.rebuild_gate().await
    }

    /// Replaces A by `a` (flat, all sites).
    pub(super) fn set_imported_a(&mut self, a: &[f32]) -> Result<(), EngineError> {
        let adapter = self.adapter.as_ref().ok_or(EngineError::NoSites)?;
        let sites = &adapter.sites;
        if a.len() != sites.a_len {
            return Err(EngineError::WrongState { found: a.len(), wanted: sites.a_len });
        }
        for (site, info) in sites.sites.iter().zip(&mut self.sites) {
            info.gram_a = gram(&a[site.a_offset..][..sites.rank * site.inputs], site.inputs);
        }
        adapter.set_a(&self.gpu, a);
        self.imported_a = true;
        self.slots.clear();
        Ok(())
    }

    /// Puts the A that the settings give back where an imported one is in use.
    pub(super) async fn own_a(&mut self) -> Result<(), EngineError> {
        if self.imported_a {
            self.initialise_a(None).await?;
        }
        Ok(())
    }
}
