internal import ByteIO
internal import Kernels
internal import Llama
internal import Quantization
internal import Tensors

/// A source whose integer codes are packed in words, seen as if they lay one in a byte: in place of what a layout stores for
/// a linear module there are `weight` (int8 `[out, in]`), `weight_scale` (`[out, groups]`) and, with zero points,
/// `weight_zero_point` (int8 `[out, groups]`). Nothing else of the program knows words.
final class PackedSource: TensorSource {
  private let base: any TensorSource
  let tensors: [TensorInfo]
  private let views: [UTF8Key: View]
  /// For each packed module, by its name, the group of each input where groups are not runs of inputs.
  private let groupIndices: [UTF8Key: [Int32]]
  /// What the user should know.
  let notes: [String]

  private struct View: Sendable {
    let module: String
    let weight: PackedWeight
    let part: PackedWeight.Part
    let info: TensorInfo
    let scaleType: ElementType
    /// Zero points are read and must all be 0.
    let isSymmetric: Bool
  }

  /// - Throws: `ParseFailure` for tensors of a module that are missing, have another type or shape than the layout gives
  ///   them, or contradict the configuration; `FileFailure`.
  init(_ base: any TensorSource, _ configuration: LlamaConfiguration, _ modules: Modules) throws {
    var hidden: Set<UTF8Key> = []
    var views: [View] = []
    var indices: [UTF8Key: [Int32]] = [:]
    var notes: [String] = []
    for role in configuration.roles where role.isLinear {
      guard let scheme = modules.scheme(of: role), case .packed(let form) = scheme.storage else { continue }
      let name = NamingDialect.huggingFace.moduleName(of: role)
      let extents = configuration.shape(of: role).dimensions
      var module = try PackedModule(
        base, name: name, form: form, rows: extents[0], columns: extents[1], scheme: scheme.scheme)
      if let version = try module.otherVersion() {
        notes.append(
          "\(name): the zero points of this symmetric model are those of \(version.rawValue), though its configuration says \(form.layout.rawValue); they are read so"
        )
        module = module.relabelled(version)
      }
      if let index = try module.groupIndex() { indices[UTF8Key(name)] = index }
      for suffix in module.storedSuffixes { hidden.insert(UTF8Key(name + "." + suffix)) }
      for (part, info) in try module.canonical() {
        views.append(
          View(
            module: name, weight: module.weight, part: part, info: info, scaleType: module.scaleType,
            isSymmetric: form.isSymmetric))
      }
    }
    self.base = base
    self.views = Dictionary(views.map { (UTF8Key($0.info.name), $0) }, uniquingKeysWith: { first, _ in first })
    groupIndices = indices
    // Of many alike, one says it.
    self.notes =
      notes.count > 1 ? [notes[0] + " (and \(notes.count - 1) more modules)"] : notes
    tensors =
      base.tensors.filter { !hidden.contains(UTF8Key($0.name)) }
      + views.filter { !($0.part == .zeroPoints && $0.isSymmetric) }.map(\.info)
  }

  var place: String { base.place }

  /// The group of each input of a module; nil where groups are runs of inputs.
  func groupIndex(ofModule name: String) -> [Int32]? { groupIndices[UTF8Key(name)] }

  func info(_ name: String) -> TensorInfo? {
    guard let view = views[UTF8Key(name)] else { return base.info(name) }
    return view.part == .zeroPoints && view.isSymmetric ? nil : view.info
  }

  func checksum(of name: String) -> UInt32? { views[UTF8Key(name)] == nil ? base.checksum(of: name) : nil }

  func areAliases(_ name: String, _ other: String) -> Bool {
    views[UTF8Key(name)] == nil && views[UTF8Key(other)] == nil && base.areAliases(name, other)
  }

  func proveIntegrity() throws { try base.proveIntegrity() }

  func advise(_ advice: ReadingAdvice, _ name: String, _ range: Range<Int>) {
    guard let view = views[UTF8Key(name)] else { return base.advise(advice, name, range) }
    guard let stored = view.weight.stored(view.part, scaleType: view.scaleType), !range.isEmpty else { return }
    let name = view.module + "." + stored.suffix
    guard let info = base.info(name) else { return }
    // Rows that lie together in words along the input lie together in the file; transposed ones lie all over it.
    let rowSize = view.info.byteCount / max(1, view.weight.rows)
    guard view.weight.layout == .compressedTensors, view.part != .zeroPoints, rowSize > 0 else {
      return base.advise(advice, name, 0..<info.byteCount)
    }
    let storedSize = info.byteCount / view.weight.rows
    base.advise(
      advice, name,
      range.lowerBound / rowSize * storedSize..<(range.upperBound + rowSize - 1) / rowSize * storedSize)
  }

  func read(_ name: String, at offset: Int, into buffer: inout MutableSpan<UInt8>) throws {
    guard let view = views[UTF8Key(name)] else { return try base.read(name, at: offset, into: &buffer) }
    guard offset >= 0, offset <= view.info.byteCount, buffer.count <= view.info.byteCount - offset else {
      throw ParseFailure(
        "\(buffer.count) bytes at byte \(offset) of the tensor are asked for, it has \(view.info.byteCount)",
        file: place, item: name)
    }
    if buffer.isEmpty { return }
    let rowSize = view.info.rowByteCount
    let rows = offset / rowSize..<(offset + buffer.count + rowSize - 1) / rowSize
    if offset % rowSize == 0 && buffer.count % rowSize == 0 {
      return try read(view, rows: rows, into: &buffer)
    }
    let whole = try [UInt8](count: rows.count * rowSize) { try read(view, rows: rows, into: &$0) }
    let start = offset - rows.lowerBound * rowSize
    buffer.copy(from: whole.span.extracting(start..<start + buffer.count))
  }

  private func read(_ view: View, rows: Range<Int>, into buffer: inout MutableSpan<UInt8>) throws {
    try view.weight.read(view.part, rows: rows, into: &buffer, scaleType: view.scaleType) { suffix, offset, bytes in
      try base.read(view.module + "." + suffix, at: offset, into: &bytes)
    }
    guard view.part == .codes, view.isSymmetric, view.weight.layout != .compressedTensors else { return }
    try checkSymmetry(view, rows)
  }

  /// A symmetric model in a layout that stores zero points all the same: they are 0, or the configuration is another's.
  private func checkSymmetry(_ view: View, _ rows: Range<Int>) throws {
    let zeroPoints = try [UInt8](count: rows.count * view.weight.groupCount) {
      try view.weight.read(.zeroPoints, rows: rows, into: &$0, scaleType: view.scaleType) { suffix, offset, bytes in
        try base.read(view.module + "." + suffix, at: offset, into: &bytes)
      }
    }
    guard let index = zeroPoints.firstIndex(where: { $0 != 0 }) else { return }
    throw ParseFailure(
      "output \(rows.lowerBound + index / view.weight.groupCount) has zero point \(Int(Int8(bitPattern: zeroPoints[index])) + 1 << (view.weight.bits - 1)), but quantization_config says that the model is symmetric",
      file: place, item: view.module + ".qzeros", advice: "sym in config.json is wrong, or the file is damaged")
  }
}

/// The stored tensors of one packed linear, checked against what its layout demands.
private struct PackedModule {
  let base: any TensorSource
  let name: String
  let form: QuantizationConfiguration.PackedForm
  let weight: PackedWeight
  let scaleType: ElementType

  init(
    _ base: any TensorSource, name: String, form: QuantizationConfiguration.PackedForm, rows: Int, columns: Int,
    scheme: WeightScheme
  ) throws {
    func failure(_ message: String, _ item: String? = nil) -> ParseFailure {
      ParseFailure(message, file: base.place, item: item ?? name)
    }
    var groups = 1
    if case .block(_, let size) = scheme {
      groups = columns / size
      // A last group that is not whole: GPTQ's readers know such, others refuse them.
      guard columns % size == 0 else {
        throw failure("its \(columns) inputs are no whole number of groups of \(size)")
      }
    }
    let draft = PackedWeight(
      layout: form.layout, bits: form.bits, rows: rows, columns: columns, groupCount: groups,
      hasZeroPoints: !form.isSymmetric, hasGroupIndex: form.hasGroupIndex && form.layout == .compressedTensors)
    if let obstacle = draft.obstacle { throw failure("\(obstacle)") }
    let scaleName = name + "." + (draft.stored(.scales)?.suffix ?? "")
    guard let scales = base.info(scaleName) else { throw failure("the scales are missing", scaleName) }
    guard [.bf16, .f16, .f32].contains(scales.elementType) else {
      throw failure("the scales are \(scales.elementType), expected BF16, F16 or F32", scaleName)
    }
    guard form.layout == .compressedTensors || scales.elementType != .f32 else {
      throw failure("the scales are F32, expected F16 or BF16", scaleName)
    }
    self.base = base
    self.name = name
    self.form = form
    weight = draft
    scaleType = scales.elementType
    for stored in draft.storedTensors(scaleType: scaleType) { try check(stored) }
    try checkShape()
  }

  private init(_ other: PackedModule, layout: IntegerLayout) {
    let w = other.weight
    (base, name, form, scaleType) = (other.base, other.name, other.form, other.scaleType)
    weight = PackedWeight(
      layout: layout, bits: w.bits, rows: w.rows, columns: w.columns, groupCount: w.groupCount,
      hasZeroPoints: w.hasZeroPoints, hasGroupIndex: w.hasGroupIndex)
  }

  /// The same tensors, read as another layout of equal shapes.
  func relabelled(_ layout: IntegerLayout) -> PackedModule { PackedModule(self, layout: layout) }

  var storedSuffixes: [String] { weight.storedTensors(scaleType: scaleType).map(\.suffix) }

  private func check(_ stored: PackedWeight.Stored) throws(ParseFailure) {
    let full = name + "." + stored.suffix
    guard let info = base.info(full) else {
      // Readers do without it where groups are runs.
      if stored.suffix == "g_idx" { return }
      throw ParseFailure("the tensor is missing", file: base.place, item: full)
    }
    // torch has no I64 shapes in some writers' hands.
    let isShape = stored.suffix == weight.storedShape?.suffix
    guard info.elementType == stored.elementType || isShape && info.elementType == .i32, info.shape == stored.shape
    else {
      throw ParseFailure(
        "the tensor is \(info.elementType) \(info.shape), expected \(stored.elementType) \(stored.shape) for [\(weight.rows), \(weight.columns)] in \(weight.groupCount) groups",
        file: base.place, item: full)
    }
  }

  /// `weight_shape` says what the configuration says.
  private func checkShape() throws {
    guard let stored = weight.storedShape else { return }
    let full = name + "." + stored.suffix
    let bytes = try base.bytes(of: full)
    let width = bytes.count / 2
    let values = (0..<2).map { part in
      (0..<width).reversed().reduce(UInt64(0)) { $0 << 8 | UInt64(bytes[part * width + $1]) }
    }
    guard values == [UInt64(weight.rows), UInt64(weight.columns)] else {
      throw ParseFailure(
        "it says that the weight is [\(values[0]), \(values[1])], the configuration says [\(weight.rows), \(weight.columns)]",
        file: base.place, item: full)
    }
  }

  /// The version of GPTQ whose zero points these are, where the configuration says the other: symmetric files tell by their
  /// constant whether zero points are stored less one, and mislabelled ones are in circulation. One word decides; that the
  /// others agree is checked where they are read.
  func otherVersion() throws -> IntegerLayout? {
    guard form.isSymmetric, weight.layout.isGPTQ, let stored = weight.stored(.zeroPoints) else { return nil }
    let (other, constant): (IntegerLayout, UInt8) =
      weight.layout == .gptq
      ? (.gptqV2, weight.bits == 4 ? 0x88 : 0x80) : (.gptq, weight.bits == 4 ? 0x77 : 0x7F)
    var first = [UInt8](repeating: 0, count: 4)
    var span = first.mutableSpan
    try base.read(name + "." + stored.suffix, at: 0, into: &span)
    return first.allSatisfy { $0 == constant } ? other : nil
  }

  /// - Throws: `ParseFailure` for a group that does not exist.
  func groupIndex() throws -> [Int32]? {
    guard form.hasGroupIndex, let stored = weight.storedGroupIndex, base.info(name + "." + stored.suffix) != nil else {
      return nil
    }
    let index = GroupIndex.parsed(try base.bytes(of: name + "." + stored.suffix))
    if let stray = index.firstIndex(where: { $0 < 0 || Int($0) >= weight.groupCount }) {
      throw ParseFailure(
        "input \(stray) is in group \(index[stray]), the weight has \(weight.groupCount)", file: base.place,
        item: name + "." + stored.suffix)
    }
    let size = weight.columns / weight.groupCount
    return index.indices.allSatisfy { Int(index[$0]) == $0 / size } ? nil : index
  }

  /// The tensors that take the stored ones' place.
  func canonical() throws(ParseFailure) -> [(PackedWeight.Part, TensorInfo)] {
    func info(_ part: PackedWeight.Part, _ type: ElementType, _ columns: Int) throws(ParseFailure) -> TensorInfo {
      try TensorInfo(name: name + "." + part.rawValue, elementType: type, shape: [weight.rows, columns])
    }
    var parts = [
      (PackedWeight.Part.codes, try info(.codes, .i8, weight.columns)),
      (.scales, try info(.scales, scaleType, weight.groupCount)),
    ]
    if weight.stored(.zeroPoints) != nil { parts.append((.zeroPoints, try info(.zeroPoints, .i8, weight.groupCount))) }
    return parts
  }
}
