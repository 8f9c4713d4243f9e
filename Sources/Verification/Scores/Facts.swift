/// A model as the report names it.
public struct ModelIdentity: Sendable, Equatable {
  /// The path as the user gave it.
  public var path: String
  /// The recognised layout, such as `hf-safetensors`.
  public var layout: String
  /// The digest of the model, independent of its layout.
  public var digest: String

  public init(path: String, layout: String, digest: String) {
    self.path = path
    self.layout = layout
    self.digest = digest
  }
}

/// The text that was scored. The counts cover the scored windows only, so that per-character figures are right when a
/// part of the text was scored.
public struct TextFacts: Sendable, Equatable {
  /// Unicode scalars.
  public var characters: Int
  public var utf8Bytes: Int
  public var path: String?
  public var sha256: String?

  public init(characters: Int, utf8Bytes: Int, path: String? = nil, sha256: String? = nil) {
    self.characters = characters
    self.utf8Bytes = utf8Bytes
    self.path = path
    self.sha256 = sha256
  }
}

/// The rule by which a text becomes windows and scored tokens.
public enum ScoringRule: String, Sendable, CaseIterable {
  /// Each window is the begin-of-text token and the next context − 1 tokens; every token is scored once.
  case windows
  /// What llama.cpp's `llama-perplexity` does: chunks of context tokens, the begin-of-text token in place of each one's
  /// first; only the second half is scored.
  case llamaCpp = "llama.cpp"
  /// Conversations, each a window; only what the assistant says is scored.
  case chat
}

/// How text became windows.
public struct ScoringProtocol: Sendable, Equatable {
  /// `windows` or `llama.cpp`.
  public var name: String
  /// Tokens of a full window, the first (BOS) included.
  public var context: Int

  public init(name: String, context: Int) {
    precondition(context > 1, "a window needs an input token and a target")
    self.name = name
    self.context = context
  }

  public init(_ rule: ScoringRule, context: Int) { self.init(name: rule.rawValue, context: context) }

  /// Nil for a name that this version does not know.
  public var rule: ScoringRule? { ScoringRule(rawValue: name) }
}

/// ‖candidate − base‖₂ / ‖base‖₂ of the residual stream behind one layer, over all positions that were run.
public struct LayerError: Sendable, Equatable {
  public var layer: Int
  public var relativeError: Double

  public init(layer: Int, relativeError: Double) {
    self.layer = layer
    self.relativeError = relativeError
  }
}

/// Signal-to-quantization-noise ratio of one tensor: 10·log₁₀(Σ w² / Σ (w − ŵ)²), decibels; infinite when equal.
public struct TensorError: Sendable, Equatable {
  public var name: String
  public var sqnrDecibels: Double
  /// How the candidate stores it, such as `int4 block 1x128`; nil where it is not known. Noise is compared among tensors of
  /// one type.
  public var storage: String?

  public init(name: String, sqnrDecibels: Double, storage: String? = nil) {
    self.storage = storage
    self.name = name
    self.sqnrDecibels = sqnrDecibels
  }
}

/// A few words of the text, by which a reader finds a window again.
public struct WindowExcerpt: Sendable, Equatable {
  /// The window's index in the text.
  public var window: Int
  public var text: String

  public init(window: Int, text: String) {
    self.window = window
    self.text = text
  }
}

/// What the forward pass was expected to hold at its peak, in bytes, beside what the process held before.
public struct MemoryFacts: Sendable, Equatable {
  /// Resident before: program, opened models, text.
  public var held: UInt64
  /// Hidden states of all models, of the tokens that go through the layers together.
  public var hiddenStates: UInt64
  /// The weights that are in memory together: half a layer.
  public var weights: UInt64
  /// Activations of one chunk of tokens and packed copies; 20 MiB for tiles, stacks and the like.
  public var scratch: UInt64

  public init(held: UInt64, hiddenStates: UInt64, weights: UInt64, scratch: UInt64) {
    self.held = held
    self.hiddenStates = hiddenStates
    self.weights = weights
    self.scratch = scratch
  }
}

/// How the run was made and what it cost.
public struct RunFacts: Sendable, Equatable {
  public var seconds: Double
  public var tokensPerSecond: Double
  public var peakRSSBytes: UInt64
  /// Read from files by the process, each reading of the same bytes counted.
  public var bytesRead: UInt64
  /// How often all weights went through memory: more than once where the hidden states of all windows were too many.
  public var weightPasses: Int
  /// Nil where nothing was planned.
  public var memory: MemoryFacts?
  public var threads: Int
  public var instructionSet: String
  /// `exact` or `bf16`.
  public var compute: String
  /// Serving numerics that were emulated, such as `activations=fp8`; nil when none.
  public var emulation: String?
  /// What serving does with the activations of either model, in words of `ActivationScheme`: that was emulated.
  public var emulatedActivations: [String]
  /// Whether a model's weights are ggml blocks. They are dequantized and multiply activations as they are, where llama.cpp
  /// rounds activations to 8 bits.
  public var hasBlocks: Bool
  /// The tool's version.
  public var version: String

  public init(
    seconds: Double, tokensPerSecond: Double, peakRSSBytes: UInt64, bytesRead: UInt64, weightPasses: Int = 1,
    memory: MemoryFacts? = nil, threads: Int, instructionSet: String, compute: String, emulation: String? = nil,
    emulatedActivations: [String] = [], hasBlocks: Bool = false, version: String
  ) {
    self.seconds = seconds
    self.tokensPerSecond = tokensPerSecond
    self.peakRSSBytes = peakRSSBytes
    self.bytesRead = bytesRead
    self.weightPasses = weightPasses
    self.memory = memory
    self.threads = threads
    self.instructionSet = instructionSet
    self.compute = compute
    self.emulation = emulation
    self.emulatedActivations = emulatedActivations
    self.hasBlocks = hasBlocks
    self.version = version
  }
}
