internal import ByteIO
internal import Checkpoints
internal import Quantization
internal import SafetensorsFormat
internal import Tensors

/// The integer codes of one step in the words of a layout.
struct PackedStep: Sendable {
  let module: String
  let packing: PackedWeight
  let scaleType: ElementType
  private let columnGroups: [Int32]?
  private let hasZeroPoints: Bool

  /// Nil for a step that is written as it is.
  init?(_ step: PlannedStep) {
    guard let packing = step.packing, let scale = step.scale else { return nil }
    module = String(step.weight.name.dropLast(PackedWeight.Part.codes.rawValue.count + 1))
    self.packing = packing
    scaleType = scale.elementType
    columnGroups = step.source.quantization?.columnGroups
    hasZeroPoints = step.zeroPoint != nil
  }

  /// All that is stored of the module.
  func tensors() throws(ParseFailure) -> [TensorInfo] {
    var infos: [TensorInfo] = []
    for stored in packing.storedTensors(scaleType: scaleType) {
      infos.append(
        try TensorInfo(name: module + "." + stored.suffix, elementType: stored.elementType, shape: stored.shape))
    }
    return infos
  }

  /// The canonical names, and what part of the weight each is.
  var parts: [(name: String, part: PackedWeight.Part)] {
    PackedWeight.Part.allCases.map { (module + "." + $0.rawValue, $0) }
  }

  func storedName(_ part: PackedWeight.Part) -> String? {
    packing.stored(part, scaleType: scaleType).map { module + "." + $0.suffix }
  }

  /// Bytes of a canonical row.
  func rowByteCount(_ part: PackedWeight.Part) -> Int {
    switch part {
    case .codes: packing.columns
    case .scales: packing.groupCount * scaleType.bits / 8
    case .zeroPoints: packing.groupCount
    }
  }

  /// Writes what follows from the plan: sizes, groups, and zero points that are all 0.
  func writeConstants(_ put: PackedWeight.Put) throws {
    if let shape = packing.storedShape {
      let bytes = [packing.rows, packing.columns].flatMap { extent in
        (0..<8).map { UInt8(truncatingIfNeeded: extent >> (8 * $0)) }
      }
      try put(shape.suffix, 0, bytes.span)
    }
    if let index = packing.storedGroupIndex {
      let size = packing.columns / packing.groupCount
      let bytes = GroupIndex.bytes(of: columnGroups ?? (0..<packing.columns).map { Int32($0 / size) })
      try put(index.suffix, 0, bytes.span)
    }
    if !hasZeroPoints, packing.stored(.zeroPoints) != nil {
      let zeros = [UInt8](repeating: 0, count: packing.rows * packing.groupCount)
      try packing.write(.zeroPoints, rows: 0..<packing.rows, zeros.span, scaleType: scaleType, put)
    }
  }
}

/// Takes canonical codes, scales and zero points and writes words.
struct PackingWriter: OutputWriter {
  private let base: SafetensorsWriter
  private let places: [String: (step: PackedStep, part: PackedWeight.Part)]

  init(_ base: SafetensorsWriter, _ steps: [PackedStep], writesConstants: Bool) throws {
    self.base = base
    places = Dictionary(
      steps.flatMap { step in step.parts.map { ($0.name, (step, $0.part)) } }, uniquingKeysWith: { first, _ in first })
    for step in steps where writesConstants {
      try step.writeConstants { try base.write(step.module + "." + $0, at: $1, $2) }
    }
  }

  func write(_ name: String, at offset: Int, _ bytes: Span<UInt8>) throws {
    guard let (step, part) = places[name] else { return try base.write(name, at: offset, bytes) }
    let size = step.rowByteCount(part)
    precondition(offset % size == 0 && bytes.count % size == 0, "whole rows")
    let rows = offset / size..<(offset + bytes.count) / size
    try step.packing.write(part, rows: rows, bytes, scaleType: step.scaleType) {
      try base.write(step.module + "." + $0, at: $1, $2)
    }
  }

  func complete(inputDigest: String?) throws {}
  func synchronize() throws { try base.finish() }
}
