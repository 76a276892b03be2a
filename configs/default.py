"""Every field of a config with its default: the ResNet CVAE on scikit-learn's digits.

The other configs start from this one and change what they are about. Comments are what
`python train.py --help` prints.
"""

from ml_collections import ConfigDict


def get_config() -> ConfigDict:
  config = ConfigDict()
  config.name = 'default'  # the run folder is runs/<name>, unless --workdir names another
  config.seed = 0  # of weights, batch order and noise; 0 to 2**32 - 1
  config.num_epochs = 50  # passes over the training images
  config.batch_size = 128  # images per step, over all devices together
  config.latent_dim = 16  # size of z
  config.likelihood = 'bernoulli'  # p(x|z,c): bernoulli (logits) or gaussian (fixed sigma)
  config.sigma = 0.5  # standard deviation of the gaussian likelihood, pixels in [-1, 1]
  config.beta = 1.0  # weight of the KL; 1 is the ELBO
  config.beta_schedule = 'linear'  # constant, linear, cosine or cyclical
  config.beta_warmup_epochs = 5.0  # epochs in which linear and cosine rise from 0 to beta
  config.beta_cycles = 4  # cycles of the cyclical schedule over the whole run
  config.learning_rate = 2e-3  # peak learning rate of AdamW
  config.learning_rate_schedule = 'cosine'  # constant, or cosine: linear warm-up, cosine to 0
  config.learning_rate_warmup_epochs = 1.0  # epochs of the warm-up of cosine
  config.weight_decay = 1e-4  # AdamW's decoupled decay
  config.clip_norm = 1.0  # largest global norm of the gradient; 0 does not clip
  config.ema_decay = 0.999  # moving average of the weights, used for results; 0 turns it off
  config.precision = 'float32'  # of convolutions: float32 (TF32 on most GPUs) or bfloat16
  config.init_from = ''  # start from the weights of this run folder or checkpoint
  config.profile = False  # trace some steps for TensorBoard's profiler
  config.log_every_steps = 50  # steps between lines of the log, metrics.csv and TensorBoard
  config.eval_every_epochs = 1  # epochs between validations
  config.checkpoint_every_epochs = 1  # epochs between checkpoints; a new best is always kept
  config.checkpoint_every_steps = 0  # also every so many steps; 0: only at the ends of epochs
  config.keep_checkpoints = 3  # the newest so many checkpoints stay, and the best

  config.data = ConfigDict()
  config.data.name = 'digits'  # digits, mnist or fashion_mnist
  config.data.dir = ''  # folder of the data; empty: $TFDS_DATA_DIR or ~/tensorflow_datasets
  config.data.image_size = 28  # images are resized to this height and width
  config.data.channels = 1  # channels of the images
  config.data.num_classes = 10  # labels are 0 to num_classes - 1
  config.data.binarize = 'none'  # dynamic: pixels drawn anew each time; none: grey values
  config.data.max_examples = 0  # keep only the first so many training images; 0 keeps all
  config.data.validation_examples = 200  # images split off the training set
  config.data.split_seed = 0  # which images those are

  config.model = ConfigDict()
  config.model.name = 'resnet'  # the architecture
  config.model.channels = (32, 64)  # width of each stage; a stage halves the image
  config.model.embed_dim = 16  # size of the class embedding
  config.model.activation = 'silu'  # silu or relu
  config.model.norm = 'group'  # group or batch
  config.model.groups = 8  # groups of the group norm
  return config
