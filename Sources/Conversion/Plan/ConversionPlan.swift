public import ByteIO
public import Checkpoints
public import Llama
public import Quantization
internal import Tensors

/// What a conversion will do, computed from headers and options alone: for each tensor its inputs, operation and place in
/// the output. Equal inputs and options give an equal plan.
public struct ConversionPlan: Sendable {
  public let input: Checkpoint
  public let outputPath: String
  public let options: ConversionOptions
  /// One per logical tensor, in model order.
  public private(set) var steps: [PlannedStep]
  public let layout: Checkpoint.Layout
  /// Which bytes go where.
  public private(set) var output: any PlannedOutput
  /// Files whose bytes are known now: configuration and index.
  public let documents: [PlannedDocument]
  /// The output is one file, whose name the user gave: a GGUF called `NAME.gguf`.
  public let isSingleFile: Bool
  public let sidecars: [SidecarFile]
  /// Files of the input that the output will not have.
  public let leftBehind: [String]
  public let warnings: [String]

  /// Of a Hugging Face directory.
  let serving: ServingSizes?

  public struct PlannedDocument: Sendable, Equatable {
    public let name: String
    public let bytes: [UInt8]
  }

  /// - Throws: `ConversionFailure` of kind `.usage` when the options do not fit the model, `ParseFailure` when the model
  ///   cannot be converted as asked.
  public init(_ checkpoint: Checkpoint, output: String, options: ConversionOptions) throws {
    let selection = try ModuleSelection(checkpoint, options)
    let layout = try OutputLayout(checkpoint, options)
    self.layout = layout.layout
    let builder = StepBuilder(checkpoint, target: options.target, selection: selection, layout: layout)
    steps = try checkpoint.tensors.map { try builder.step(for: $0) }
    (self.output, documents) = try layout.plan(
      steps, checkpoint, options, selection, name: FileSystem.lastComponent(of: output))
    input = checkpoint
    // A slash behind the name of a directory says nothing.
    outputPath = output.count > 1 && output.hasSuffix("/") ? String(output.dropLast()) : output
    self.options = options
    let hasFileName = Checkpoint.stem(ofGGUF: FileSystem.lastComponent(of: output)) != nil
    let isSingleFile = layout.isOneFile && hasFileName && self.output.files.count == 1
    self.isSingleFile = isSingleFile
    sidecars = checkpoint.sidecars.filter { layout.carriesBeside($0, singleFile: isSingleFile) }
    let carried = Set(sidecars.map(\.name))
    let dropped = checkpoint.sidecars.filter { !carried.contains($0.name) && !layout.carriesInside($0) }
    leftBehind = checkpoint.leftBehind + dropped.map(\.name)
    serving = layout.layout == .huggingFace ? ServingSizes(steps, checkpoint.configuration) : nil
    warnings = selection.warnings + layout.warnings + (serving?.warnings ?? [])
  }

  /// The digest of the plan before calibration's results took the inputs' places.
  private(set) var plannedDigest: String?
  /// What calibration was done with, for the evidence.
  private(set) var calibrationFacts: JSONValue?

  /// Full names of the linears that are rounded, in Hugging Face's dialect.
  public var roundedModules: Set<String> {
    Set(steps.filter { $0.linearRecipe != nil }.map { NamingDialect.huggingFace.moduleName(of: $0.input.role) })
  }

  /// What has to be found on text before the plan can be carried out.
  public enum CalibrationTask: Sendable, Hashable {
    /// Codes of linears, or weights for their search, by the method of a quantizer.
    /// - Parameter recipes: how each linear of the plan is rounded, those too that are rounded by themselves.
    case integers(IntegerQuantizer, recipes: [TensorRole: LinearRecipe])
    /// The scales of linears' activations.
    case activationScales
  }

  /// That, and the linears it is about; nil where there is nothing to do.
  public var calibration: (task: CalibrationTask, roles: Set<TensorRole>)? {
    var roles: Set<TensorRole> = []
    var found: IntegerQuantizer?
    for step in steps {
      switch step.operation {
      case .calibrate(let quantizer): found = found ?? quantizer
      case .quantizeGroups(let quantizer) where quantizer.method.isCalibrated: found = found ?? quantizer
      case .quantizeFP8(.fp8Static, _): break
      default: continue
      }
      roles.insert(step.input.role)
    }
    if roles.isEmpty { return nil }
    guard let found else { return (.activationScales, roles) }
    let recipes = steps.compactMap { step in step.linearRecipe.map { (step.input.role, $0) } }
    return (.integers(found, recipes: Dictionary(recipes, uniquingKeysWith: { first, _ in first })), roles)
  }

  /// The plan with what calibration has found.
  /// - Parameters:
  ///   - tensors: for all steps that are calibrated.
  ///   - columnWeights: for linears whose search for scales is weighted.
  ///   - activationScales: for linears whose activations have stored scales, in BF16.
  ///   - facts: for the evidence.
  public func calibrated(
    tensors: [TensorRole: CalibratedTensor], columnWeights: [TensorRole: [Float]],
    activationScales: [TensorRole: [UInt8]], facts: JSONValue
  ) throws -> ConversionPlan {
    var plan = self
    plan.plannedDigest = digest
    plan.calibrationFacts = facts
    plan.steps = steps.map { step in
      switch step.operation {
      case .calibrate, .fold: tensors[step.input.role].map { step.bound(to: $0) } ?? step
      case .quantizeGroups: columnWeights[step.input.role].map { step.weighted(by: $0) } ?? step
      case .quantizeFP8: activationScales[step.input.role].map { step.scaled(byActivations: $0) } ?? step
      default: step
      }
    }
    // Which input is in which group is known only now. Sizes and places are the same.
    if layout == .huggingFace { plan.output = try SafetensorsOutput(plan.steps, options) }
    return plan
  }

  /// Where the record and the sum of a single file go.
  var evidencePaths: [String] {
    isSingleFile ? [ConversionRecord.recordSuffix, ConversionRecord.sumSuffix].map { outputPath + $0 } : []
  }

  /// Bytes of tensors read.
  public var inputByteCount: UInt64 { steps.reduce(0) { $0 + UInt64($1.inputByteCount) } }

  /// Bytes of the model's tensors, also where calibration has read them already.
  public var modelByteCount: UInt64 {
    steps.reduce(0) { $0 + UInt64(($1.calibratedFrom ?? $1.input).storedByteCount) }
  }

  /// Bytes of all files written, apart from the record and the checksums.
  public var outputByteCount: UInt64 {
    output.files.reduce(0) { $0 + $1.byteCount } + documents.reduce(0) { $0 + UInt64($1.bytes.count) }
      + sidecars.reduce(0) { $0 + $1.byteCount }
  }

  /// Upper estimate of resident memory in bytes: the program itself, and per thread the tile read, its values in binary32
  /// and the bytes written.
  public var peakMemory: UInt64 {
    let program: UInt64 = 48 << 20
    let widest = steps.map { step -> UInt64 in
      let bytes = UInt64(step.rowsPerTile * step.rows.rowByteCount)
      let elements = UInt64(min(step.rowsPerTile, step.input.rowCount) * step.input.columnCount)
      return switch step.operation {
      case .copy, .calibrate, .fold: step.packing == nil ? 2 * bytes : 4 * bytes
      case .convert: 2 * bytes + 8 * elements
      case .quantizeFP8: 2 * bytes + 6 * elements
      case .quantizeIntegers: 2 * bytes + 10 * elements
      // Codes are packed in a buffer of their own.
      case .quantizeGroups: 2 * bytes + 10 * elements
      // The self-check takes tiles by what was written, which is less.
      case .quantizeBlocks: 3 * bytes + 14 * max(elements, step.checkedElements)
      }
    }
    // A tile's chunks taken apart, and chunks that wait for their turn.
    let compression: UInt64 = options.compresses ? 24 << 20 + UInt64(options.threads) * 4 << 20 : 0
    return program + compression + UInt64(options.threads) * (widest.max() ?? 0)
  }

  /// True when every value of the output is exactly the input's: then equality is proven by digests.
  public var isLossless: Bool { steps.allSatisfy { $0.operation.isExact } }
}
