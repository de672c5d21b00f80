//! The encoders of a run, loaded onto the device that runs them.

use std::num::NonZeroUsize;
use std::sync::Arc;

use virnucpro_backend::Backend;
use virnucpro_backend::cpu::CpuBackend;
use virnucpro_backend::cuda::CudaBackend;
use virnucpro_models::{EncoderSource, ModelError, Pooling};
use virnucpro_runner::{
    BoxError, CudaDevice, EncoderTask, Encoders, ExactEncoders, HostDevice, LoadExact,
};

use crate::budget::{self, ChosenBudget};
use crate::device::Cuda;
use crate::loader::LoaderTask;
use crate::{Device, PipelineError, TokenBudget};

/// Tokens that the f32 encoders are made ready for; sequences come to them one batch at a time.
const EXACT_TOKENS: usize = 2048;

/// An encoder as it was asked for.
pub(crate) struct EngineTask {
    name: Arc<str>,
    source: Arc<EncoderSource>,
    layer: usize,
    pooling: Pooling,
}

/// The encoders of a run on their device.
pub(crate) struct Engine {
    loaded: Loaded,
    tasks: Vec<EngineTask>,
}

enum Loaded {
    Cpu(Arc<CpuBackend>, Encoders<CpuBackend>),
    Cuda(Cuda, Encoders<CudaBackend>),
}

/// What runs the encoders, ready for the runner.
pub(crate) enum Stage {
    /// The processor.
    Cpu(HostDevice<CpuBackend>, Encoders<CpuBackend>),
    /// A GPU.
    Cuda(CudaDevice, Encoders<CudaBackend>),
}

impl Engine {
    pub(crate) fn new(device: &Device) -> Self {
        let loaded = match device.cuda() {
            None => Loaded::Cpu(Arc::clone(device.cpu()), Encoders { tasks: Vec::new() }),
            Some(cuda) => Loaded::Cuda(cuda.clone(), Encoders { tasks: Vec::new() }),
        };
        Self { loaded, tasks: Vec::new() }
    }

    /// Loads an encoder as the next task; `layer` is the last one unless given.
    pub(crate) fn load(
        &mut self,
        name: &str,
        source: EncoderSource,
        layer: Option<usize>,
        pooling: Pooling,
    ) -> Result<(), PipelineError> {
        let last = source.config().num_hidden_layers();
        let layer = layer.unwrap_or(last);
        if layer > last {
            return Err(ModelError::NoSuchLayer { layer, last }.into());
        }
        let task = EngineTask { name: name.into(), source: Arc::new(source), layer, pooling };
        match &mut self.loaded {
            Loaded::Cpu(backend, encoders) => encoders.tasks.push(task.load(&**backend)?),
            Loaded::Cuda(cuda, encoders) => encoders.tasks.push(task.load(&*cuda.backend)?),
        }
        self.tasks.push(task);
        Ok(())
    }

    /// Width of the embeddings of encoder number `task`.
    pub(crate) fn hidden_size(&self, task: usize) -> usize {
        self.tasks[task].source.config().hidden_size()
    }

    /// Chooses the token budget and makes the device ready for it.
    pub(crate) fn prepare(&self, wanted: TokenBudget) -> Result<ChosenBudget, PipelineError> {
        match &self.loaded {
            Loaded::Cpu(..) => Ok(budget::for_processor(wanted)),
            Loaded::Cuda(cuda, encoders) => budget::for_gpu(&cuda.backend, encoders, wanted),
        }
    }

    /// The loader's view of the encoders.
    pub(crate) fn loader_tasks(
        &self,
        token_budget: NonZeroUsize,
    ) -> Result<Vec<LoaderTask>, PipelineError> {
        let loader_task = |task: &EngineTask| -> Result<LoaderTask, PipelineError> {
            Ok(LoaderTask {
                name: Arc::clone(&task.name),
                tokenizer: task.source.tokenizer()?,
                token_budget,
                hidden_size: task.source.config().hidden_size(),
                is_pooled: task.pooling != Pooling::None,
            })
        };
        self.tasks.iter().map(loader_task).collect()
    }

    /// What runs the encoders, with slots for batches of `token_budget` tokens.
    pub(crate) fn into_stage(self, token_budget: NonZeroUsize) -> Result<Stage, PipelineError> {
        Ok(match self.loaded {
            Loaded::Cpu(backend, encoders) => Stage::Cpu(HostDevice::new(backend), encoders),
            Loaded::Cuda(cuda, encoders) => {
                let load_exact = load_exact(cuda.clone(), self.tasks);
                let device = CudaDevice::new(cuda.backend, token_budget.get(), load_exact)?;
                Stage::Cuda(device, encoders)
            }
        })
    }
}

impl EngineTask {
    fn load<B: Backend>(&self, backend: &B) -> Result<EncoderTask<B>, ModelError> {
        let encoder = self.source.load(backend)?;
        encoder.check(backend)?;
        Ok(EncoderTask { encoder, layer: self.layer, pooling: self.pooling })
    }
}

/// Loads the same encoders in f32: onto the GPU, or onto the processor where that has no room.
fn load_exact(cuda: Cuda, tasks: Vec<EngineTask>) -> LoadExact {
    Box::new(move || {
        let on_gpu = exact_on_gpu(&cuda, &tasks);
        match on_gpu {
            Err(PipelineError::Model(error)) if error.is_out_of_memory() => {
                tracing::warn!("no room for f32 encoders on the GPU: the processor computes them");
                let backend = Arc::new(CpuBackend::new(0)?);
                let encoders = load_all(&tasks, &*backend)?;
                Ok(computing(HostDevice::new(backend), encoders))
            }
            Err(error) => Err(error.into()),
            Ok(exact) => Ok(exact),
        }
    })
}

fn exact_on_gpu(cuda: &Cuda, tasks: &[EngineTask]) -> Result<ExactEncoders, PipelineError> {
    let options = virnucpro_backend::cuda::CudaOptions {
        precision: virnucpro_backend::Precision::F32,
        ..cuda.options.clone()
    };
    let backend = Arc::new(CudaBackend::open(&options).map_err(ModelError::from)?);
    let encoders = load_all(tasks, &*backend)?;
    // Plans that are made for a batch of one sequence could depend on its length.
    budget::settle(&backend, &encoders, EXACT_TOKENS)?;
    let never: LoadExact = Box::new(|| Err("f32 is computed in f32 already".into()));
    let compute = computing(CudaDevice::new(Arc::clone(&backend), 0, never)?, encoders);
    Ok(Box::new(move |task, batch| {
        // Blocks that were taken before one did not fit are not kept from anybody else.
        compute(task, batch).inspect_err(|_| drop(backend.release_memory()))
    }))
}

fn load_all<B: Backend>(tasks: &[EngineTask], backend: &B) -> Result<Encoders<B>, ModelError> {
    let tasks = tasks.iter().map(|task| task.load(backend)).collect::<Result<_, _>>()?;
    Ok(Encoders { tasks })
}

fn computing<B, D>(device: D, encoders: Encoders<B>) -> ExactEncoders
where
    B: Backend + 'static,
    Encoders<B>: Send,
    D: virnucpro_runner::StagedDevice<Encoders<B>> + 'static,
{
    Box::new(move |task, batch| -> Result<_, BoxError> {
        encoders.compute_now(&device, task, batch)
    })
}
