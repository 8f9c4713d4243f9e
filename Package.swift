// swift-tools-version: 6.2
import PackageDescription

/// `make fuzz`. Of two sanitizers the build system's flags turn on only the last for Swift, so both are named together.
let isFuzzing = Context.environment["LLAMA_FUZZ"] != nil

/// Every Swift target: Swift 6 mode, warnings are errors, imports are explicit and internal by default.
let base: [SwiftSetting] =
  [
    .swiftLanguageMode(.v6),
    .treatAllWarnings(as: .error),
    .enableUpcomingFeature("InternalImportsByDefault"),
    .enableUpcomingFeature("MemberImportVisibility"),
    .enableUpcomingFeature("ExistentialAny"),
  ] + (isFuzzing ? [.unsafeFlags(["-sanitize=fuzzer,address"])] : [])
/// All but the two modules that own memory and call C: unsafe constructs are refused.
let safe: [SwiftSetting] = base + [.strictMemorySafety()]
/// `ByteIO` and `Kernels`: the fence. They lend spans, which needs lifetime annotations.
let fence: [SwiftSetting] = base + [.enableExperimentalFeature("Lifetimes")]

let warningsAreErrors: [CSetting] = [.enableWarning("all"), .enableWarning("extra"), .treatAllWarnings(as: .error)]

let argumentParser: Target.Dependency = .product(name: "ArgumentParser", package: "swift-argument-parser")
let crypto: Target.Dependency = .product(name: "Crypto", package: "swift-crypto")
let heap: Target.Dependency = .product(name: "HeapModule", package: "swift-collections")
let protobuf: Target.Dependency = .product(name: "SwiftProtobuf", package: "swift-protobuf")
let mustache: Target.Dependency = .product(name: "Mustache", package: "swift-mustache")
let yams: Target.Dependency = .product(name: "Yams", package: "Yams")

let libraries = [
  "ByteIO", "Kernels", "Tensors", "SafetensorsFormat", "TorchFormat", "GGUFFormat", "Llama", "Tokenizers",
  "Quantization", "Checkpoints", "Conversion", "Inference", "Calibration",
  "Verification",
]

let package = Package(
  name: "swift-llama-convert",
  platforms: [.macOS("26.0")],
  products: libraries.map { .library(name: $0, targets: [$0]) } + [
    .executable(name: "llama-convert", targets: ["llama-convert"]),
    .executable(name: "llama-verify", targets: ["llama-verify"]),
  ],
  dependencies: [
    .package(url: "https://github.com/apple/swift-argument-parser", from: "1.8.2"),
    .package(url: "https://github.com/apple/swift-collections", from: "1.6.0"),
    .package(url: "https://github.com/apple/swift-crypto", from: "4.5.2"),
    .package(url: "https://github.com/apple/swift-protobuf", from: "1.39.0"),
    .package(url: "https://github.com/hummingbird-project/swift-mustache", from: "2.1.1"),
    .package(url: "https://github.com/jpsim/Yams", from: "6.2.2"),
  ],
  targets: [
    // Bytes and arithmetic: no llamas.
    .target(name: "CKernels", cSettings: warningsAreErrors),
    .target(name: "Kernels", dependencies: ["CKernels"], swiftSettings: fence),
    .systemLibrary(name: "CZlib", providers: [.apt(["zlib1g-dev"]), .brew(["zlib"])]),
    .target(name: "ByteIO", dependencies: ["CZlib", "CKernels"], swiftSettings: fence),
    .target(name: "Tensors", dependencies: ["ByteIO"], swiftSettings: safe),

    // One folder per format.
    .target(name: "TorchFormat", dependencies: ["ByteIO", "Tensors"], swiftSettings: safe),
    .target(name: "SafetensorsFormat", dependencies: ["ByteIO", "Tensors"], swiftSettings: safe),
    .target(name: "GGUFFormat", dependencies: ["ByteIO", "Tensors"], swiftSettings: safe),

    // The model, its text and its numbers: no files.
    .target(name: "Llama", dependencies: ["ByteIO", "Tensors"], swiftSettings: safe),
    .target(name: "Tokenizers", dependencies: ["ByteIO", heap, protobuf], swiftSettings: safe),
    .target(name: "Quantization", dependencies: ["ByteIO", "Tensors", "Kernels"], swiftSettings: safe),

    // Formats and model meet here.
    .target(
      name: "Checkpoints",
      dependencies: [
        "ByteIO", "Tensors", "SafetensorsFormat", "TorchFormat", "GGUFFormat", "Llama", "Tokenizers", "Quantization",
        "Kernels", crypto, yams,
      ],
      swiftSettings: safe),
    .target(
      name: "Conversion",
      dependencies: [
        "ByteIO", "Tensors", "SafetensorsFormat", "TorchFormat", "GGUFFormat", "Llama", "Quantization", "Checkpoints",
        "Kernels",
      ],
      swiftSettings: safe),
    .target(
      name: "Inference",
      dependencies: ["ByteIO", "Tensors", "Kernels", "Llama", "Quantization", "Checkpoints"], swiftSettings: safe),
    .target(
      name: "Calibration",
      dependencies: [
        "ByteIO", "Tensors", "Kernels", "SafetensorsFormat", "Llama", "Tokenizers", "Quantization", "Checkpoints",
        "Inference",
      ], swiftSettings: safe),
    .target(
      name: "Verification",
      dependencies: [
        "ByteIO", "Tensors", "Kernels", "Llama", "Quantization", "Tokenizers", "Checkpoints", "Inference", mustache,
        yams,
      ],
      swiftSettings: safe),

    // The programs.
    .target(
      name: "CommandLineSupport", dependencies: ["ByteIO", "Kernels", "Checkpoints", argumentParser],
      swiftSettings: safe),
    .executableTarget(
      name: "llama-convert",
      dependencies: [
        "ByteIO", "Quantization", "Conversion", "Calibration", "Verification", "Checkpoints", "CommandLineSupport",
        argumentParser,
      ],
      swiftSettings: safe),
    .executableTarget(
      name: "llama-verify",
      dependencies: [
        "ByteIO", "Kernels", "Checkpoints", "Tokenizers", "Inference", "Verification", "CommandLineSupport",
        argumentParser,
      ],
      swiftSettings: safe),

    // Tests. Support holds what several of them build with: byte builders, seeded random numbers, fixtures.
    .target(name: "Support", dependencies: ["ByteIO", "Tensors", crypto], path: "Tests/Support", swiftSettings: base),
    .target(
      name: "FuzzTargets",
      dependencies: [
        "ByteIO", "Tensors", "SafetensorsFormat", "TorchFormat", "GGUFFormat", "Llama", "Tokenizers", "Quantization",
        "Checkpoints", "Calibration", "Verification",
      ], path: "Tests/Fuzz/Targets", swiftSettings: base),
    .testTarget(name: "FuzzTests", dependencies: ["FuzzTargets", "Support"], swiftSettings: base),
    .testTarget(name: "ByteIOTests", dependencies: ["ByteIO", "Support"], swiftSettings: base),
    .testTarget(name: "KernelsTests", dependencies: ["Kernels", "Tensors", "Support"], swiftSettings: base),
    .testTarget(name: "TensorsTests", dependencies: ["Tensors", "ByteIO", "Support"], swiftSettings: base),
    .testTarget(
      name: "SafetensorsFormatTests", dependencies: ["SafetensorsFormat", "ByteIO", "Tensors", "Support"],
      swiftSettings: base),
    .testTarget(
      name: "TorchFormatTests", dependencies: ["TorchFormat", "ByteIO", "Tensors", "Support"], swiftSettings: base),
    .testTarget(
      name: "GGUFFormatTests", dependencies: ["GGUFFormat", "ByteIO", "Tensors", "Support"], swiftSettings: base),
    .testTarget(name: "LlamaTests", dependencies: ["Llama", "ByteIO", "Tensors", "Support"], swiftSettings: base),
    .testTarget(name: "TokenizersTests", dependencies: ["Tokenizers", "ByteIO", "Support"], swiftSettings: base),
    .testTarget(
      name: "QuantizationTests",
      dependencies: ["Quantization", "Kernels", "ByteIO", "Tensors", "SafetensorsFormat", "Support"],
      swiftSettings: base),
    .testTarget(
      name: "CheckpointsTests",
      dependencies: [
        "Checkpoints", "GGUFFormat", "Llama", "Quantization", "Tokenizers", "Tensors", "ByteIO", "Support",
      ],
      swiftSettings: base),
    .testTarget(
      name: "ConversionTests",
      dependencies: [
        "Conversion", "Checkpoints", "Quantization", "SafetensorsFormat", "TorchFormat", "GGUFFormat", "Kernels",
        "Llama", "Tokenizers", "Tensors", "ByteIO", "Support",
      ],
      swiftSettings: base),
    .testTarget(
      name: "InferenceTests",
      dependencies: ["Inference", "Checkpoints", "Kernels", "Llama", "Tokenizers", "ByteIO", "Tensors", "Support"],
      swiftSettings: base),
    .testTarget(
      name: "CalibrationTests",
      dependencies: [
        "Calibration", "Inference", "Checkpoints", "Quantization", "Kernels", "Llama", "Tensors", "ByteIO", "Support",
      ], swiftSettings: base),
    .testTarget(name: "VerificationTests", dependencies: ["Verification", "ByteIO", "Support"], swiftSettings: base),
    .testTarget(
      name: "CommandLineTests",
      dependencies: [
        "llama-convert", "llama-verify", "CommandLineSupport", "Checkpoints", "ByteIO", "Kernels", "Support",
        argumentParser, yams,
      ],
      swiftSettings: base),
  ],
  cLanguageStandard: .gnu17
)

// Fuzzing needs the sanitizer's own main program: `make fuzz`.
if isFuzzing {
  package.targets.append(
    .target(name: "FuzzAllocations", path: "Tests/Fuzz/Allocations", cSettings: warningsAreErrors))
  package.targets.append(
    .executableTarget(
      name: "LlamaFuzz", dependencies: ["FuzzTargets", "FuzzAllocations"], path: "Tests/Fuzz/Driver",
      swiftSettings: base + [.unsafeFlags(["-parse-as-library"])]))
}
