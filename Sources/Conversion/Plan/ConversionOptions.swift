public import Checkpoints
internal import Kernels
public import Llama
public import Quantization
public import Tensors

/// What the element types of the output shall be.
public enum TargetType: Sendable, Hashable, CustomStringConvertible {
  /// As they are in the input.
  case unchanged
  /// Every weight in one unquantized type: F32, F16 or BF16.
  case element(ElementType)
  /// Row-wise FP8 e4m3 by a named recipe.
  case fp8(FP8Recipe)
  /// Integer codes of 4 bits (weights only) or 8 bits (with int8 activations, or weights only) as `IntegerOptions` say.
  case integers(bits: Int)
  /// For each linear the type that `ConversionOptions.types` say.
  case mixed
  /// Meta's int4 checkpoints: int4 groups in the layers, int8 embedding and head.
  case int4Meta
  /// A file type of llama.cpp: each tensor gets the type that its mixture says.
  case ggml(GGMLFileType)

  /// The value of `--to`.
  public init?(name: String) {
    switch name.lowercased() {
    case "f32", "fp32", "float32": self = .element(.f32)
    case "f16", "fp16", "float16": self = .element(.f16)
    case "bf16", "bfloat16": self = .element(.bf16)
    case "fp8_dynamic": self = .fp8(.fp8)
    case "int4-meta": self = .int4Meta
    case "mixed": self = .mixed
    case "int4", "w4a16": self = .integers(bits: 4)
    case "int8", "w8a8": self = .integers(bits: 8)
    case let name:
      if let recipe = FP8Recipe(rawValue: name) {
        self = .fp8(recipe)
      } else if let type = GGMLFileType(rawValue: name) {
        self = .ggml(type)
      } else {
        return nil
      }
    }
  }

  /// All names to show in help.
  public static let names =
    FP8Recipe.allCases.map(\.rawValue) + ["int4", "int8", "mixed", "int4-meta"]
    + GGMLFileType.allCases.filter { $0.defaultType.block != nil }.map(\.rawValue)
    + ["bf16", "f16", "f32"]

  public var description: String {
    switch self {
    case .unchanged: "unchanged"
    case .element(let type): type.rawValue.lowercased()
    case .fp8(let recipe): recipe.rawValue
    case .integers(let bits): "int\(bits)"
    case .mixed: "mixed"
    case .int4Meta: "int4-meta"
    case .ggml(let type): type.rawValue
    }
  }
}

/// `--tensor-type PATTERN=TYPE`: the GGUF tensors whose names a pattern matches, exact or `re:`, get this type.
public struct TensorTypeOverride: Sendable, Hashable {
  public let pattern: String
  public let type: ElementType

  public init(pattern: String, type: ElementType) {
    self.pattern = pattern
    self.type = type
  }

  /// - Parameter text: `PATTERN=TYPE`, the type in llama.cpp's spelling; nil when it is none that can be written.
  public init?(_ text: String) {
    guard let sign = text.lastIndex(of: "="), sign != text.startIndex else { return nil }
    let name = text[text.index(after: sign)...].uppercased()
    pattern = String(text[..<sign])
    if let plain = [ElementType.f32, .f16, .bf16].first(where: { $0.rawValue == name }) {
      type = plain
    } else if let block = BlockType(rawValue: name), BlockFormat(block).canQuantize {
      type = .block(block)
    } else {
      return nil
    }
  }
}

/// What `--to int4` and `int8` leave open.
public struct IntegerOptions: Sendable, Hashable {
  public enum GroupSize: Sendable, Hashable {
    case elements(Int)
    /// A whole row.
    case channel
  }

  /// Nil for the default: `mse`, or `gptq` with calibration text.
  public var method: IntegerMethod?
  /// Nil for the default: 128 for int4, a row for int8.
  public var groupSize: GroupSize?
  public var isAsymmetric: Bool
  /// Nil for the input's, or compressed-tensors.
  public var layout: IntegerLayout?
  /// There is text to calibrate with.
  public var isCalibrated: Bool
  /// Make groups of inputs that text drives alike (GPTQ's `desc_act`, compressed-tensors' `actorder: group`).
  public var groupsByActivation: Bool
  /// SmoothQuant's α for int8 with int8 activations; nil for none.
  public var smoothing: Float?

  public init(
    method: IntegerMethod? = nil, groupSize: GroupSize? = nil, isAsymmetric: Bool = false, layout: IntegerLayout? = nil,
    isCalibrated: Bool = false, groupsByActivation: Bool = false, smoothing: Float? = nil
  ) {
    self.smoothing = smoothing
    self.groupsByActivation = groupsByActivation
    self.isCalibrated = isCalibrated
    self.method = method
    self.groupSize = groupSize
    self.isAsymmetric = isAsymmetric
    self.layout = layout
  }
}

/// All that decides the bytes of the output, and the limits of the run, which do not.
public struct ConversionOptions: Sendable {
  public var target: TargetType
  /// The output's layout; nil for the input's, or what the target needs.
  public var layout: Checkpoint.Layout?
  /// Shards of a Meta directory; nil for as many as the input has.
  public var tensorParallel: Int?
  /// Modules that stay as they are: exact names or `re:` patterns.
  public var ignore: [String]
  /// When not empty, only these modules are quantized.
  public var only: [String]
  /// A new shard begins when the next tensor would pass this many bytes; nil for the layout's own habit: 5 GB for
  /// safetensors, one file for GGUF.
  public var maximumShardSize: UInt64?
  /// A new GGUF file begins after so many tensors; nil for no such limit.
  public var maximumShardTensors: Int?
  /// Tensors of a GGUF that get another type than the mixture's.
  public var tensorTypes: [TensorTypeOverride]
  /// Round weights that were rounded to few bits already.
  public var allowsRequantizing: Bool
  /// Weighs the columns of matrices that become blocks.
  public var importance: NamedImportanceMatrix?
  /// Losslessly compress a compact file's matrices.
  public var compresses: Bool
  public var integers: IntegerOptions
  /// Of `mixed`: the type of each linear.
  public var types: TypeChoice?

  /// Threads that convert; the bytes do not depend on it.
  public var threads: Int
  /// The process's resident memory must stay below this many bytes.
  public var maximumMemory: UInt64
  /// Replace an existing output.
  public var force: Bool
  /// Record sums of whole files: `SHA256SUMS`, `checklist.chk`, inputs. Tensors are proven and digested with and without.
  public var sumsFiles: Bool
  /// Compare the input's files with the sums that came with them, before anything is published.
  public var checksSums: Bool

  public init(
    target: TargetType = .unchanged, layout: Checkpoint.Layout? = nil, tensorParallel: Int? = nil,
    ignore: [String] = [], only: [String] = [],
    maximumShardSize: UInt64? = nil, maximumShardTensors: Int? = nil, tensorTypes: [TensorTypeOverride] = [],
    allowsRequantizing: Bool = false,
    importance: NamedImportanceMatrix? = nil, compresses: Bool = false,
    integers: IntegerOptions = IntegerOptions(), types: TypeChoice? = nil, threads: Int = 1,
    maximumMemory: UInt64 = 4 << 30, force: Bool = false,
    sumsFiles: Bool = true, checksSums: Bool = true
  ) {
    self.target = target
    self.layout = layout
    self.tensorParallel = tensorParallel
    self.ignore = ignore
    self.only = only
    self.maximumShardSize = maximumShardSize
    self.maximumShardTensors = maximumShardTensors
    self.tensorTypes = tensorTypes
    self.allowsRequantizing = allowsRequantizing
    self.importance = importance
    self.compresses = compresses
    self.integers = integers
    self.types = types
    self.threads = threads
    self.maximumMemory = maximumMemory
    self.force = force
    self.sumsFiles = sumsFiles
    self.checksSums = checksSums
  }
}
