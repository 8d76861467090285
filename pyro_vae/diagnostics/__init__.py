"""The measured picture: one file for each question that is asked of a pair and data.

Every number is an `Estimate`, with its Monte Carlo standard error, in nats and per datum where it
can be.
"""

from pyro_vae.diagnostics.annealing import Annealed as Annealed
from pyro_vae.diagnostics.annealing import annealed_log_evidence as annealed_log_evidence
from pyro_vae.diagnostics.bracket import Bracket as Bracket
from pyro_vae.diagnostics.bracket import bracket as bracket
from pyro_vae.diagnostics.calibration import Calibration as Calibration
from pyro_vae.diagnostics.calibration import calibrate as calibrate
from pyro_vae.diagnostics.clusters import Clusters as Clusters
from pyro_vae.diagnostics.clusters import cluster as cluster
from pyro_vae.diagnostics.coherence import Coherence as Coherence
from pyro_vae.diagnostics.coherence import coherence as coherence
from pyro_vae.diagnostics.cross_generation import CrossGenerated as CrossGenerated
from pyro_vae.diagnostics.cross_generation import cross_generate as cross_generate
from pyro_vae.diagnostics.elbo import Elbo as Elbo
from pyro_vae.diagnostics.elbo import elbo as elbo
from pyro_vae.diagnostics.estimate import Estimate as Estimate
from pyro_vae.diagnostics.evidence import Evidence as Evidence
from pyro_vae.diagnostics.evidence import log_evidence as log_evidence
from pyro_vae.diagnostics.forecast import Forecast as Forecast
from pyro_vae.diagnostics.forecast import forecast as forecast
from pyro_vae.diagnostics.gaps import InferenceGaps as InferenceGaps
from pyro_vae.diagnostics.gaps import inference_gaps as inference_gaps
from pyro_vae.diagnostics.gaps import posterior_gap as posterior_gap
from pyro_vae.diagnostics.grid import GridPosterior as GridPosterior
from pyro_vae.diagnostics.grid import grid_posterior as grid_posterior
from pyro_vae.diagnostics.imputation import Imputation as Imputation
from pyro_vae.diagnostics.imputation import impute as impute
from pyro_vae.diagnostics.joint import JointKL as JointKL
from pyro_vae.diagnostics.joint import joint_kl as joint_kl
from pyro_vae.diagnostics.labels import Agreement as Agreement
from pyro_vae.diagnostics.labels import Labels as Labels
from pyro_vae.diagnostics.labels import classify as classify
from pyro_vae.diagnostics.labels import compare_labels as compare_labels
from pyro_vae.diagnostics.latents import Latents as Latents
from pyro_vae.diagnostics.latents import latents as latents
from pyro_vae.diagnostics.log_weights import log_weights as log_weights
from pyro_vae.diagnostics.picture import Picture as Picture
from pyro_vae.diagnostics.picture import picture as picture
from pyro_vae.diagnostics.second_look import SecondLook as SecondLook
from pyro_vae.diagnostics.second_look import prior_evidence as prior_evidence
from pyro_vae.diagnostics.steps import PerStep as PerStep
from pyro_vae.diagnostics.steps import per_step as per_step
from pyro_vae.diagnostics.topics import TopicCoherence as TopicCoherence
from pyro_vae.diagnostics.topics import TopWords as TopWords
from pyro_vae.diagnostics.topics import perplexity as perplexity
from pyro_vae.diagnostics.topics import top_words as top_words
from pyro_vae.diagnostics.topics import topic_coherence as topic_coherence
from pyro_vae.diagnostics.topics import topic_diversity as topic_diversity
