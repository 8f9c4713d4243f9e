internal import ByteIO
internal import Checkpoints
internal import GGUFFormat
internal import Llama
internal import Quantization
internal import Tensors

/// A compact file: weights in whatever type, with what explains their codes, and all files of the model, in one GGUF.
struct CompactOutput: PlannedOutput {
  /// A file that goes inside.
  struct InsideFile: Sendable {
    enum Content: Sendable {
      case sidecar(SidecarFile)
      case bytes([UInt8])
    }

    let name: String
    let content: Content

    var byteCount: Int {
      switch content {
      case .sidecar(let file): Int(clamping: file.byteCount)
      case .bytes(let bytes): bytes.count
      }
    }

    func forEachPiece(_ body: (_ offset: Int, _ bytes: ArraySlice<UInt8>) throws -> Void) throws {
      switch content {
      case .sidecar(let file): try file.forEachPiece { try body(Int($0), $1) }
      case .bytes(let bytes): try body(0, bytes[...])
      }
    }
  }

  private let plan: CompactPlan
  private let inside: [(file: InsideFile, tensor: String)]

  /// - Parameters:
  ///   - configuration: `config.json`.
  ///   - name: the model's.
  ///   - isCompressed: BF16, F16, F32 and FP8 matrices become planes.
  ///   - recordsInput: the file says what it was made from.
  init(
    _ steps: [PlannedStep], configuration: String, files: [InsideFile], name: String, isCompressed: Bool,
    recordsInput: Bool
  ) throws {
    inside = files.compactMap { file in CompactProfile.tensorName(ofFile: file.name).map { (file, $0) } }
    var tensors = try inside.map { file, tensor in
      try CompactTensor(TensorInfo(name: tensor, elementType: .u8, shape: [file.byteCount]))
    }
    for step in steps {
      for planned in step.written {
        let info = try TensorInfo(name: planned.name, elementType: planned.elementType, shape: planned.shape)
        let isWeight = planned == step.weight
        tensors.append(
          try CompactTensor(info, encoding: isWeight ? Self.encoding(step, isCompressed: isCompressed) : .plain))
      }
    }
    var metadata = GGUFMetadata()
    metadata.set("general.type", to: GGUFValue("model"))
    metadata.set("general.name", to: GGUFValue(name))
    metadata.set("compact.written_by", to: GGUFValue("\(Toolkit.name) \(Toolkit.version)"))
    if recordsInput { metadata.set(Self.inputKey, to: GGUFValue(String(repeating: "0", count: 64))) }
    plan = try CompactPlan(
      tensors, configuration: configuration, quantized: steps.compactMap(Self.description), metadata: metadata,
      fileName: name + ".gguf")
  }

  private static func encoding(_ step: PlannedStep, isCompressed: Bool) -> CompactEncoding {
    if step.weight.elementType == .i8, step.codeBits == 4, step.input.columnCount % 2 == 0 { return .int4 }
    return isCompressed && step.weight.shape.rank > 1 && CompactTensor.canBePlanes(step.weight.elementType)
      ? .planes : .plain
  }

  /// How the weight's codes are to be read; nil where it has none.
  private static func description(_ step: PlannedStep) -> CompactQuantization? {
    func text(_ scheme: WeightScheme, _ activations: ActivationScheme, _ stored: StoredQuantization? = nil)
      -> CompactQuantization
    {
      CompactQuantization(
        weight: step.weight.name, scheme: scheme.canonicalText, activations: activations.canonicalText,
        adapterScale: stored?.adapter?.factor ?? 0, isRotated: stored?.isRotated ?? false)
    }
    switch step.operation {
    case .copy: return step.input.quantization.map { text($0.scheme, $0.activations, $0) }
    case .quantizeFP8(let recipe, _): return text(.rowWise, recipe.activations)
    case .quantizeIntegers(let recipe):
      return text(recipe.scheme, step.input.role.layer == nil ? .none : .dynamicInt8PerToken)
    case .quantizeGroups(let quantizer), .calibrate(let quantizer):
      return text(quantizer.grid.scheme, quantizer.activations)
    case .convert, .quantizeBlocks, .fold: return nil
    }
  }

  var files: [PlannedFile] {
    [PlannedFile(name: plan.fileName, byteCount: plan.maximumByteCount, isExact: !plan.isCompressed)]
  }

  func places(of tensor: String) -> [PlannedPlace] {
    guard let planned = plan.tensors.first(where: { $0.info.name == tensor }) else { return [] }
    return [
      PlannedPlace(
        file: plan.fileName, offset: plan.fileOffset(of: tensor), byteCount: planned.maximumStoredByteCount)
    ]
  }

  var headerDigest: String {
    var sum = SHA256Sum()
    sum.update(plan.headerBytes)
    for case (let file, _) in inside { if case .bytes(let bytes) = file.content { sum.update(bytes) } }
    return sum.hexadecimal()
  }

  private static let inputKey = "compact.input_sha256"

  var recordsInput: Bool { plan.metadata[Self.inputKey] != nil }

  /// The plan's keys with what was only known in the end.
  private static func metadata(_ plan: CompactPlan, _ inputDigest: String?) -> GGUFMetadata {
    var metadata = plan.metadata
    if let inputDigest, metadata[inputKey] != nil { metadata.set(inputKey, to: GGUFValue(inputDigest)) }
    return metadata
  }

  private struct Writer: OutputWriter {
    let writer: CompactWriter
    let plan: CompactPlan

    func write(_ name: String, at offset: Int, _ bytes: Span<UInt8>) throws {
      try writer.write(name, at: offset, bytes)
    }

    func takeNotes() -> [WriteNote] { writer.takeNotes() }
    func restore(_ notes: [WriteNote]) throws { try writer.restore(notes) }

    func complete(inputDigest: String?) throws {
      try writer.complete(metadata: CompactOutput.metadata(plan, inputDigest))
    }

    func synchronize() throws { try writer.synchronize() }
  }

  func writer(in directory: String, writesFixedBytes: Bool) throws -> any OutputWriter {
    // A compressed file that was begun is begun again: staging is cleared for it.
    let writer =
      try canBeContinued ? CompactWriter(sharing: plan, in: directory) : CompactWriter(creating: plan, in: directory)
    for (file, tensor) in inside where writesFixedBytes {
      try file.forEachPiece { offset, bytes in try writer.write(tensor, at: offset, bytes.span) }
    }
    return Writer(writer: writer, plan: plan)
  }

  func firstFault(in directory: String, inputDigest: String?) throws -> (file: String, fault: String)? {
    let path = directory + "/" + plan.fileName
    do {
      let file = try CompactFile(path: path)
      if let fault = try plan.firstFault(in: file, metadata: Self.metadata(plan, inputDigest)) {
        return (path, fault)
      }
      for (expected, tensor) in inside {
        var isSame = true
        try expected.forEachPiece { offset, bytes in
          var found = [UInt8](repeating: 0, count: bytes.count)
          var span = found.mutableSpan
          try file.read(tensor, at: offset, into: &span)
          if found[...] != bytes { isSame = false }
        }
        guard isSame else { return (path, "has another \(expected.name) inside than was planned") }
      }
      return nil
    } catch let failure as ParseFailure {
      return (path, "cannot be read back: \(failure.message)")
    }
  }
}
