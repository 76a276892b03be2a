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
  config.conditional = True  # the class reaches encoder and decoder; False: labels are not used
  config.prior = 'standard'  # p(z|c): standard, class_gaussian, vamp or flow
  config.objective = 'vae'  # or dae: a denoising autoencoder, without sampling and KL
  config.likelihood = 'bernoulli'  # p(x|z,c): bernoulli, gaussian, l2, ...; the README lists them
  config.sigma = 0.5  # the gaussian's standard deviation; where those that learn theirs begin
  config.charbonnier_epsilon = 1e-3  # charbonnier is sqrt(residual² + epsilon²), near |residual|
  config.beta = 1.0  # weight of the KL; 1 is the ELBO
  config.beta_schedule = 'linear'  # constant, linear, cosine or cyclical
  config.beta_warmup_epochs = 5.0  # epochs in which linear and cosine rise from 0 to beta
  config.beta_warmup_steps = 0  # the same in steps; 0: beta_warmup_epochs counts
  config.beta_delay_epochs = 0.0  # epochs at 0 before any of the schedules begins
  config.beta_delay_steps = 0  # the same in steps; 0: beta_delay_epochs counts
  config.beta_cycles = 4  # cycles of the cyclical schedule in what is left of the run
  config.free_bits = 0.0  # nats of KL per latent dimension that cost nothing (batch mean)
  config.num_importance_samples = 1  # 1 trains on the ELBO, more on the IWAE bound
  config.optimizer = 'adamw'  # adamw or adam
  config.learning_rate = 2e-3  # peak learning rate
  config.learning_rate_schedule = 'cosine'  # constant, or cosine: linear warm-up, cosine to 0
  config.learning_rate_warmup_epochs = 1.0  # epochs of the warm-up of cosine
  config.weight_decay = 1e-4  # decoupled decay of adamw; adam has none
  config.clip_norm = 1.0  # largest global norm of the gradient; 0 does not clip
  config.ema_decay = 0.999  # moving average of the weights, used for results; 0 turns it off
  config.precision = 'float32'  # of convolutions: float32 (TF32 on most GPUs) or bfloat16
  config.init_from = ''  # start from the weights of this run folder or checkpoint
  config.deterministic = False  # True: the same bits each time on a GPU too, at some speed
  config.profile = False  # trace some steps for TensorBoard's profiler
  config.tracker = 'none'  # or wandb: Weights & Biases beside TensorBoard; offline without a key
  config.log_every_steps = 50  # steps between lines of the log, metrics.csv and TensorBoard
  config.eval_every_epochs = 1  # epochs between validations
  config.checkpoint_every_epochs = 1  # epochs between checkpoints; a new best is always kept
  config.checkpoint_every_steps = 0  # also every so many steps; 0: only at the ends of epochs
  config.keep_checkpoints = 3  # the newest so many checkpoints stay, and the best
  config.on_nonfinite = 'stop'  # or skip: leave out a step whose loss or gradient is not finite
  config.max_skipped_steps = 10  # so many in a row are left out; one more stops the run
  config.max_gradient_norm = 0.0  # a longer gradient counts as not finite; 0: no limit
  config.early_stopping_epochs = 0  # stop so long after the best validation or the rise of β; 0: no
  config.min_active_share = 0.1  # warn if fewer latents are in use once β has risen
  config.max_train_seconds = 0.0  # stop after so long, to be gone on with; 0: no limit

  config.data = ConfigDict()
  config.data.name = 'digits'  # digits, mnist, fashion_mnist, cifar10, celeba, ...; see README
  config.data.dir = ''  # folder of the data; empty: $TFDS_DATA_DIR or ~/tensorflow_datasets
  config.data.crop_size = 0  # centre crop of so many pixels, first; 0: the largest square
  config.data.image_size = 28  # images are then resized to this height and width
  config.data.channels = 1  # 1 (grey) or 3 (RGB); a folder's pictures are converted
  config.data.num_classes = 10  # labels are 0 to num_classes - 1; 0 for a set without labels
  config.data.label_attribute = 'Smiling'  # the attribute of celeba that is the class
  config.data.pixel_range = 'auto'  # unit [0, 1], symmetric [-1, 1]; auto: unit for bernoulli only
  config.data.binarize = 'none'  # dynamic: pixels drawn anew each time; none: grey values
  config.data.max_examples = 0  # keep only the first so many training images; 0 keeps all
  # Of a set without such splits, so many training images become the validation set, the test set.
  config.data.validation_examples = 200  # images of each split that the set does not come with
  config.data.split_seed = 0  # which images those are
  config.data.placement = 'auto'  # device: all images lie there; stream: from the host; auto
  config.data.skip_broken = False  # leave unreadable pictures out, with a list, instead of stopping
  config.data.corruption = 'gaussian'  # what a dae undoes: gaussian, salt_and_pepper or masking
  config.data.corruption_level = 0.3  # σ of gaussian noise on [0, 1]; else the share of pixels

  # Random changes of training images, each with its strength (0: off) and its probability.
  config.data.augment = ConfigDict()
  config.data.augment.rotation = 0.0  # largest angle in degrees, either way
  config.data.augment.rotation_probability = 1.0  # of a rotation
  config.data.augment.shift = 0.0  # largest shift in pixels, along each axis
  config.data.augment.shift_probability = 1.0  # of a shift
  config.data.augment.flip_probability = 0.0  # of a horizontal flip
  config.data.augment.brightness = 0.0  # largest relative change: a factor on all pixels
  config.data.augment.brightness_probability = 1.0  # of a change of brightness
  config.data.augment.contrast = 0.0  # largest relative change of the distance from the mean
  config.data.augment.contrast_probability = 1.0  # of a change of contrast
  config.data.augment.auto_contrast = 0.0  # share of the stretched image: 1 stretches to [0, 1]
  config.data.augment.auto_contrast_probability = 1.0  # of auto-contrast

  config.model = ConfigDict()
  config.model.name = 'resnet'  # resnet, conv, conv_resize or mlp
  config.model.channels = (32, 64)  # width of each stage, which halves the image; of an mlp's layer
  config.model.hidden_dim = 256  # size of the dense layer of conv
  config.model.embed_dim = 16  # size of the class embedding
  config.model.activation = 'silu'  # silu, relu or leaky_relu
  config.model.norm = 'group'  # group, batch or none
  config.model.groups = 8  # groups of the group norm
  config.model.dropout = 0.0  # share of the features that training sets to 0
  config.model.depth = 1  # residual blocks of each stage of a resnet
  config.model.pool = True  # a resnet's encoder: average the map; False: flatten it
  config.model.num_pseudo_inputs = 50  # of a vamp prior, for each class
  config.model.num_flow_layers = 8  # couplings of a flow prior
  config.model.flow_hidden_dim = 128  # width of their networks
  return config
