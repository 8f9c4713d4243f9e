internal import ByteIO
internal import Checkpoints
internal import Llama
internal import Quantization
internal import SafetensorsFormat
internal import Tensors

/// What calibration has found so far, a file for each layer, beside the output until that is published. A file that has its
/// name is complete: a run that was cut off goes on behind the last of them.
final class CalibrationStore {
  let directory: StagedDirectory
  private static let manifestName = "calibration.json"

  /// Opens or creates the store of an output.
  /// - Parameter identity: of everything that decides the bytes. What another calibration left is cleared.
  init(for output: String, identity: String) throws {
    directory = try StagedDirectory(resuming: output, suffix: ".calibration", mark: Self.manifestName) { path in
      guard let bytes = try? ReadableFile.contents(of: path + "/" + Self.manifestName, limit: 1 << 16) else {
        return false
      }
      return bytes == Array(identity.utf8)
    }
    let manifest = directory.file(Self.manifestName)
    if !FileSystem.nameIsTaken(manifest) { try FileSystem.writeAtomically(Array(identity.utf8), to: manifest) }
  }

  private func fileName(_ layer: Int) -> String {
    let digits = String(layer)
    return "layer-" + String(repeating: "0", count: max(0, 5 - digits.count)) + digits + ".safetensors"
  }

  func has(_ layer: Int) -> Bool { FileSystem.nameIsTaken(directory.file(fileName(layer))) }

  /// Writes a layer's tensors; the file gets its name when it is complete.
  func write(_ layer: Int, _ tensors: [CalibratedWeight]) throws {
    var infos: [TensorInfo] = []
    var contents: [(name: String, bytes: [UInt8])] = []
    var statistics = JSONObject()
    for tensor in tensors {
      let name = tensor.role.canonicalText
      for part in tensor.parts {
        infos.append(try TensorInfo(name: name + part.suffix, elementType: part.type, shape: part.shape))
        contents.append((name + part.suffix, part.bytes))
      }
      if let found = tensor.statistics { statistics[name] = found.document }
    }
    let layout = try SafetensorsLayout(
      infos, metadata: ["format": "pt", "statistics": JSONValue.object(statistics).serialized(.compact)])
    let partial = fileName(layer) + ".partial"
    try FileSystem.remove(directory.file(partial))
    let writer = try SafetensorsWriter(creating: [.init(fileName: partial, layout: layout)], in: directory.path)
    for (name, bytes) in contents { try writer.write(name, at: 0, bytes.span) }
    try writer.finish()
    try FileSystem.rename(directory.file(partial), to: directory.file(fileName(layer)), replacing: true)
    try FileSystem.synchronizeDirectory(directory.path)
  }

  /// The tensors of a layer, read when they are asked for.
  func tensors(
    _ layer: Int, of original: [LogicalTensor], _ linears: FittedLinears
  ) throws -> [CalibratedTensor] {
    let file = try SafetensorsFile(path: directory.file(fileName(layer)))
    let statistics = try file.metadata["statistics"].map { try JSONValue(parsing: Array($0.utf8)) }
    return try original.compactMap { tensor -> CalibratedTensor? in
      let name = tensor.role.canonicalText
      func rows(_ suffix: String, _ type: ElementType?, _ shape: Shape) throws -> (RowExpression, TensorInfo)? {
        guard let info = file.info(name + suffix) else { return nil }
        try Self.check(info, type, shape, file.path)
        return (.stored(StoredRows(source: file, tensor: info)), info)
      }
      if let (norm, info) = try rows("", nil, tensor.shape) {
        return CalibratedTensor(
          tensor: LogicalTensor(role: tensor.role, shape: tensor.shape, elementType: info.elementType, rows: norm),
          statistics: nil)
      }
      let quantizer = linears.quantizer(of: tensor.role)
      let groupCount = quantizer.grid.groupCount(columns: tensor.columnCount)
      let groupShape: Shape = [tensor.rowCount, groupCount]
      guard let (codes, _) = try rows(CalibratedWeight.codeSuffix, .i8, tensor.shape),
        let (scales, info) = try rows(CalibratedWeight.scaleSuffix, nil, groupShape)
      else { return nil }
      let groups = try rows(CalibratedWeight.groupSuffix, .i32, [tensor.columnCount]).map {
        try Self.groups(file, $0.1, count: groupCount)
      }
      return CalibratedTensor(
        tensor: LogicalTensor(
          role: tensor.role, shape: tensor.shape, elementType: .i8, rows: codes,
          quantization: StoredQuantization(
            scheme: quantizer.grid.scheme, scales: scales, scaleType: info.elementType, scaleShape: info.shape,
            activations: quantizer.activations, bits: quantizer.grid.bits,
            zeroPoints: try rows(CalibratedWeight.zeroPointSuffix, .i8, groupShape)?.0, columnGroups: groups)),
        statistics: statistics?[name].flatMap { QuantizationStatistics(document: $0) })
    }
  }

  private static let advice = "the store is damaged: delete its directory and run again"

  /// What stands in the file is read as what calibration wrote; a file that says otherwise is not.
  /// - Parameter type: nil for a floating-point one.
  private static func check(
    _ info: TensorInfo, _ type: ElementType?, _ shape: Shape, _ path: String
  ) throws(ParseFailure) {
    let fits = type.map { info.elementType == $0 } ?? [.f32, .f16, .bf16].contains(info.elementType)
    guard fits, info.shape == shape else {
      throw ParseFailure(
        "the tensor is \(info.elementType) \(info.shape), expected \(type.map { "\($0)" } ?? "a floating-point type") "
          + "\(shape)", file: path, item: info.name, advice: advice)
    }
  }

  /// The group of each column.
  private static func groups(_ file: SafetensorsFile, _ info: TensorInfo, count: Int) throws -> [Int32] {
    let groups = GroupIndex.parsed(try file.bytes(of: info.name))
    guard groups.allSatisfy({ (0..<Int32(count)).contains($0) }) else {
      throw ParseFailure(
        "a column's group is not in 0 to \(count - 1)", file: file.path, item: info.name, advice: advice)
    }
    return groups
  }

  /// Removes all, when the output is published.
  func remove() throws { try directory.discard() }
}

/// What became of a weight: codes with scales, or a norm that took over factors.
struct CalibratedWeight {
  static let codeSuffix = " codes"
  static let scaleSuffix = " scales"
  static let zeroPointSuffix = " zero points"
  /// The group of each column, where groups are not runs of columns.
  static let groupSuffix = " groups"

  struct Part {
    let suffix: String
    let type: ElementType
    let shape: Shape
    let bytes: [UInt8]
  }

  let role: TensorRole
  let parts: [Part]
  let statistics: QuantizationStatistics?
}

extension QuantizationStatistics {
  var document: JSONValue {
    [
      "rows": .number(JSONNumber(rows)), "zero_rows": .number(JSONNumber(zeroRows)),
      "saturated": .number(JSONNumber(saturated)), "signal": .number(JSONNumber(signalEnergy)),
      "error": .number(JSONNumber(errorEnergy)), "elements": .number(JSONNumber(elements)),
      "largest_error": .number(JSONNumber(Double(largestError))),
    ]
  }

  init?(document: JSONValue) {
    guard let rows = document["rows"]?.integer, let zeroRows = document["zero_rows"]?.integer,
      let saturated = document["saturated"]?.integer, let signal = document["signal"]?.double,
      let error = document["error"]?.double, let elements = document["elements"]?.integer,
      let largest = document["largest_error"]?.double
    else { return nil }
    self.init(
      rows: rows, zeroRows: zeroRows, saturated: saturated, signalEnergy: signal, errorEnergy: error,
      elements: elements, largestError: Float(largest))
  }
}
