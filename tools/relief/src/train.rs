//! `relief train`: a new training run.

use relief_api::training::v1::{CreateRunRequest, Run, RunSpec};

use crate::cli::TrainArguments;
use crate::client::Client;
use crate::output::{self, Output};
use crate::{job, run};

pub(crate) async fn run(arguments: TrainArguments, client: &Client, output: Output) -> anyhow::Result<()> {
    let run = create(client, spec(&arguments)).await?;
    output.print(|| run::to_json(&run), || run.name.clone())?;
    if arguments.watch {
        let name = &run.name;
        job::until_interrupted(run::job(name, name), run::follow(client, name, name)).await?;
        output::note(run::snapshot_table(&run::get(client, name).await?.snapshots).trim_end());
    }
    Ok(())
}

pub(crate) async fn create(client: &Client, spec: RunSpec) -> anyhow::Result<Run> {
    let request = CreateRunRequest { spec: Some(spec), run_id: String::new() };
    let response = client.training().create_run(request).await.map_err(|status| client.training.refused(status))?;
    Ok(client.training.required("run", response.into_inner().run)?)
}

fn spec(arguments: &TrainArguments) -> RunSpec {
    RunSpec {
        network: arguments.network.to_string(),
        dataset: arguments.dataset.to_string(),
        epochs: arguments.epochs,
        batch_size: arguments.batch,
        rate: arguments.rate,
        momentum: arguments.momentum,
        weight_decay: arguments.weight_decay,
        milestones: arguments.milestones.clone(),
        seed: arguments.seed,
    }
}
