internal import ByteIO
internal import Checkpoints
internal import GGUFFormat
internal import Kernels
internal import Llama
internal import Quantization
internal import Tensors

/// A GGUF file or a split set: everything that llama.cpp needs in one place.
struct GGUFOutput: PlannedOutput {
  /// With a placeholder for the input's digest.
  private let pieces: [GGUFSplitPlan.Piece]
  /// What the pieces are made of.
  private let parts: Parts

  private struct Parts {
    let tensors: [TensorInfo]
    let metadata: GGUFMetadata
    let name: String
    let limits: GGUFSplitPlan.Limits

    func pieces(inputDigest: String?) throws -> [GGUFSplitPlan.Piece] {
      var metadata = metadata
      if let inputDigest, recordsInput { metadata.set(Checkpoint.inputDigestKey, to: GGUFValue(inputDigest)) }
      return try GGUFSplitPlan(tensors, metadata: metadata, name: name, limits: limits).pieces
    }

    var recordsInput: Bool { metadata[Checkpoint.inputDigestKey] != nil }
  }
  /// Tensors that are computed from the configuration, with their bytes.
  private let constants: [(name: String, bytes: [UInt8])]

  /// - Parameters:
  ///   - name: the files' name without numbers and `.gguf`.
  ///   - limits: when a new file begins.
  init(
    _ steps: [PlannedStep], _ metadata: GGUFMetadata, ropeFactors: [Float]?, name: String, limits: GGUFSplitPlan.Limits
  ) throws {
    var tensors = try steps.map {
      try TensorInfo(name: $0.weight.name, elementType: $0.weight.elementType, shape: $0.weight.shape)
    }
    var constants: [(name: String, bytes: [UInt8])] = []
    if let ropeFactors {
      constants.append((Checkpoint.ropeFactorsName, NumberFormat.bytes(of: ropeFactors)))
      tensors.append(
        try TensorInfo(name: Checkpoint.ropeFactorsName, elementType: .f32, shape: [ropeFactors.count]))
    }
    self.constants = constants
    parts = Parts(tensors: Self.inFileOrder(tensors), metadata: metadata, name: name, limits: limits)
    pieces = try parts.pieces(inputDigest: nil)
  }

  var recordsInput: Bool { parts.recordsInput }

  /// llama-quantize's order: tensors of no layer by name, then the layers by number and in each by name.
  private static func inFileOrder(_ tensors: [TensorInfo]) -> [TensorInfo] {
    let keyed = tensors.map { tensor in
      (layer: NamingDialect.gguf.role(for: tensor.name)?.layer ?? -1, name: UTF8Key(tensor.name), tensor: tensor)
    }
    return keyed.sorted { $0.layer != $1.layer ? $0.layer < $1.layer : $0.name < $1.name }.map(\.tensor)
  }

  var files: [PlannedFile] { pieces.map { PlannedFile(name: $0.fileName, byteCount: $0.layout.fileByteCount) } }

  func places(of tensor: String) -> [PlannedPlace] {
    for piece in pieces {
      guard let offset = piece.layout.fileOffset(of: tensor), let entry = piece.layout.entry(tensor) else { continue }
      return [PlannedPlace(file: piece.fileName, offset: offset, byteCount: entry.info.byteCount)]
    }
    return []
  }

  var headerDigest: String {
    SHA256Sum.hexadecimal(of: pieces.flatMap(\.layout.headerBytes) + constants.flatMap(\.bytes))
  }

  func writer(in directory: String, writesFixedBytes: Bool) throws -> any OutputWriter {
    let writer = try GGUFWriter(sharing: pieces, in: directory, writesHeaders: writesFixedBytes)
    for (name, bytes) in constants where writesFixedBytes { try writer.write(name, at: 0, bytes.span) }
    return Writer(writer: writer, parts: parts)
  }

  private struct Writer: OutputWriter {
    let writer: GGUFWriter
    let parts: Parts

    func write(_ name: String, at offset: Int, _ bytes: Span<UInt8>) throws {
      try writer.write(name, at: offset, bytes)
    }

    func complete(inputDigest: String?) throws {
      guard inputDigest != nil, parts.recordsInput else { return }
      try writer.writeHeader(of: parts.pieces(inputDigest: inputDigest)[0])
    }

    func synchronize() throws { try writer.finish() }
  }

  func firstFault(in directory: String, inputDigest: String?) throws -> (file: String, fault: String)? {
    for piece in try parts.pieces(inputDigest: inputDigest) {
      let file = try ReadableFile(path: directory + "/" + piece.fileName)
      let header = piece.layout.headerBytes
      guard try file.bytes(at: 0, count: header.count) == header else {
        return (file.path, "has another header than was planned")
      }
      for (name, bytes) in constants {
        guard let offset = piece.layout.fileOffset(of: name) else { continue }
        guard try file.bytes(at: offset, count: bytes.count) == bytes else {
          return (file.path, "has other values of \(name) than were planned")
        }
      }
    }
    return nil
  }
}
