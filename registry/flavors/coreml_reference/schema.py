"""Schema: the protobuf messages of a Core ML model that the interpreter knows.

Written down from the descriptors of coremltools 9.0 (`coremltools/proto/*_pb2.py`);
`tests/registry/flavors/coreml_reference/test_schema.py` holds every line to them. A field that is
not here is unknown, and a package that has it is refused. Messages of other kinds of model are
named so that the refusal can say what the package holds.
"""

from collections.abc import Mapping
from dataclasses import dataclass

REFUSED = "refused"
"""Type of a field that is known by name alone: a package that has it is refused."""


@dataclass(frozen=True, slots=True)
class Field:
    """One field of a message.

    `type` is a scalar type of protobuf, the name of an enumeration or a message below, or
    `REFUSED`. At most one field of a message with the same `one_of` is present.
    """

    name: str
    type: str
    is_repeated: bool = False
    one_of: str = ""


def _one(one_of: str, **types: tuple[int, str]) -> dict[int, Field]:
    return {number: Field(name, kind, one_of=one_of) for name, (number, kind) in types.items()}


def _plain(**types: tuple[int, str]) -> dict[int, Field]:
    return {number: Field(name, kind) for name, (number, kind) in types.items()}


def _many(**types: tuple[int, str]) -> dict[int, Field]:
    return {number: Field(name, kind, is_repeated=True) for name, (number, kind) in types.items()}


def _map(value: str) -> dict[int, Field]:
    """Return the fields of an entry of a map from names."""
    return _plain(key=(1, "string"), value=(2, value))


OTHER_MODELS = {
    "pipelineClassifier": 200,
    "pipelineRegressor": 201,
    "pipeline": 202,
    "glmRegressor": 300,
    "supportVectorRegressor": 301,
    "neuralNetworkRegressor": 303,
    "bayesianProbitRegressor": 304,
    "glmClassifier": 400,
    "supportVectorClassifier": 401,
    "treeEnsembleClassifier": 402,
    "neuralNetworkClassifier": 403,
    "kNearestNeighborsClassifier": 404,
    "neuralNetwork": 500,
    "itemSimilarityRecommender": 501,
    "customModel": 555,
    "linkedModel": 556,
    "classConfidenceThresholding": 560,
    "oneHotEncoder": 600,
    "imputer": 601,
    "featureVectorizer": 602,
    "dictVectorizer": 603,
    "scaler": 604,
    "categoricalMapping": 606,
    "normalizer": 607,
    "arrayFeatureExtractor": 609,
    "nonMaximumSuppression": 610,
    "identity": 900,
    "textClassifier": 2000,
    "wordTagger": 2001,
    "visionFeaturePrint": 2002,
    "soundAnalysisPreprocessing": 2003,
    "gazetteer": 2004,
    "wordEmbedding": 2005,
    "audioFeaturePrint": 2006,
    "serializedModel": 3000,
}

MODEL: dict[str, dict[int, Field]] = {
    "Model": {
        **_plain(
            specificationVersion=(1, "int32"),
            description=(2, "ModelDescription"),
            isUpdatable=(10, REFUSED),
        ),
        **_one(
            "Type",
            treeEnsembleRegressor=(302, "TreeEnsembleRegressor"),
            mlProgram=(502, "MILSpec.Program"),
            **{name: (number, REFUSED) for name, number in OTHER_MODELS.items()},
        ),
    },
    "ModelDescription": {
        **_many(
            input=(1, "FeatureDescription"),
            output=(10, "FeatureDescription"),
            state=(13, REFUSED),
            functions=(20, REFUSED),
            trainingInput=(50, REFUSED),
        ),
        **_plain(
            predictedFeatureName=(11, "string"),
            predictedProbabilitiesName=(12, REFUSED),
            defaultFunctionName=(21, REFUSED),
            metadata=(100, "Metadata"),
        ),
    },
    "Metadata": {
        **_plain(
            shortDescription=(1, "string"),
            versionString=(2, "string"),
            author=(3, "string"),
            license=(4, "string"),
        ),
        **_many(userDefined=(100, "Metadata.UserDefinedEntry")),
    },
    "Metadata.UserDefinedEntry": _map("string"),
    "FeatureDescription": _plain(
        name=(1, "string"), shortDescription=(2, "string"), type=(3, "FeatureType")
    ),
    "FeatureType": {
        **_one(
            "Type",
            int64Type=(1, REFUSED),
            doubleType=(2, "DoubleFeatureType"),
            stringType=(3, REFUSED),
            imageType=(4, REFUSED),
            multiArrayType=(5, "ArrayFeatureType"),
            dictionaryType=(6, REFUSED),
            sequenceType=(7, REFUSED),
            stateType=(8, REFUSED),
        ),
        **_plain(isOptional=(1000, REFUSED)),
    },
    "DoubleFeatureType": {},
    "ArrayFeatureType": {
        **_many(shape=(1, "int64")),
        **_plain(dataType=(2, "ArrayFeatureType.ArrayDataType")),
        **_one(
            "ShapeFlexibility",
            enumeratedShapes=(21, REFUSED),
            shapeRange=(31, "ArrayFeatureType.ShapeRange"),
        ),
        **_one(
            "defaultOptionalValue",
            intDefaultValue=(41, REFUSED),
            floatDefaultValue=(51, REFUSED),
            doubleDefaultValue=(61, REFUSED),
        ),
    },
    "ArrayFeatureType.ShapeRange": _many(sizeRanges=(1, "SizeRange")),
    "SizeRange": _plain(lowerBound=(1, "uint64"), upperBound=(2, "int64")),
}

TREES: dict[str, dict[int, Field]] = {
    "TreeEnsembleRegressor": _plain(
        treeEnsemble=(1, "TreeEnsembleParameters"),
        postEvaluationTransform=(2, "TreeEnsemblePostEvaluationTransform"),
    ),
    "TreeEnsembleParameters": {
        **_many(nodes=(1, "TreeEnsembleParameters.TreeNode"), basePredictionValue=(3, "double")),
        **_plain(numPredictionDimensions=(2, "uint64")),
    },
    "TreeEnsembleParameters.TreeNode": {
        **_plain(
            treeId=(1, "uint64"),
            nodeId=(2, "uint64"),
            nodeBehavior=(3, "TreeEnsembleParameters.TreeNode.TreeNodeBehavior"),
            branchFeatureIndex=(10, "uint64"),
            branchFeatureValue=(11, "double"),
            trueChildNodeId=(12, "uint64"),
            falseChildNodeId=(13, "uint64"),
            missingValueTracksTrueChild=(14, "bool"),
            relativeHitRate=(30, "double"),
        ),
        **_many(evaluationInfo=(20, "TreeEnsembleParameters.TreeNode.EvaluationInfo")),
    },
    "TreeEnsembleParameters.TreeNode.EvaluationInfo": _plain(
        evaluationIndex=(1, "uint64"), evaluationValue=(2, "double")
    ),
}

PROGRAM: dict[str, dict[int, Field]] = {
    "MILSpec.Program": {
        **_plain(version=(1, "int64"), docString=(3, "string")),
        **_many(
            functions=(2, "MILSpec.Program.FunctionsEntry"),
            attributes=(4, "MILSpec.Program.AttributesEntry"),
        ),
    },
    "MILSpec.Program.FunctionsEntry": _map("MILSpec.Function"),
    "MILSpec.Program.AttributesEntry": _map("MILSpec.Value"),
    "MILSpec.Function": {
        **_many(
            inputs=(1, "MILSpec.NamedValueType"),
            block_specializations=(3, "MILSpec.Function.BlockSpecializationsEntry"),
            attributes=(4, REFUSED),
        ),
        **_plain(opset=(2, "string")),
    },
    "MILSpec.Function.BlockSpecializationsEntry": _map("MILSpec.Block"),
    "MILSpec.Block": _many(
        inputs=(1, "MILSpec.NamedValueType"),
        outputs=(2, "string"),
        operations=(3, "MILSpec.Operation"),
        attributes=(4, REFUSED),
    ),
    "MILSpec.Operation": {
        **_plain(type=(1, "string")),
        **_many(
            inputs=(2, "MILSpec.Operation.InputsEntry"),
            outputs=(3, "MILSpec.NamedValueType"),
            blocks=(4, "MILSpec.Block"),
            attributes=(5, "MILSpec.Operation.AttributesEntry"),
        ),
    },
    "MILSpec.Operation.InputsEntry": _map("MILSpec.Argument"),
    "MILSpec.Operation.AttributesEntry": _map("MILSpec.Value"),
    "MILSpec.Argument": _many(arguments=(1, "MILSpec.Argument.Binding")),
    "MILSpec.Argument.Binding": _one("binding", name=(1, "string"), value=(2, "MILSpec.Value")),
    "MILSpec.NamedValueType": _plain(name=(1, "string"), type=(2, "MILSpec.ValueType")),
    "MILSpec.ValueType": _one(
        "type",
        tensorType=(1, "MILSpec.TensorType"),
        listType=(2, REFUSED),
        tupleType=(3, REFUSED),
        dictionaryType=(4, "MILSpec.DictionaryType"),
        stateType=(5, REFUSED),
    ),
    "MILSpec.TensorType": {
        **_plain(dataType=(1, "MILSpec.DataType"), rank=(2, "int64")),
        **_many(dimensions=(3, "MILSpec.Dimension"), attributes=(4, REFUSED)),
    },
    "MILSpec.DictionaryType": _plain(
        keyType=(1, "MILSpec.ValueType"), valueType=(2, "MILSpec.ValueType")
    ),
    "MILSpec.Dimension": _one(
        "dimension",
        constant=(1, "MILSpec.Dimension.ConstantDimension"),
        unknown=(2, "MILSpec.Dimension.UnknownDimension"),
    ),
    "MILSpec.Dimension.ConstantDimension": _plain(size=(1, "uint64")),
    "MILSpec.Dimension.UnknownDimension": _plain(variadic=(1, "bool")),
    "MILSpec.Value": {
        **_plain(docString=(1, "string"), type=(2, "MILSpec.ValueType")),
        **_one(
            "value",
            immediateValue=(3, "MILSpec.Value.ImmediateValue"),
            blobFileValue=(5, "MILSpec.Value.BlobFileValue"),
        ),
    },
    "MILSpec.Value.ImmediateValue": _one(
        "value",
        tensor=(1, "MILSpec.TensorValue"),
        tuple=(2, REFUSED),
        list=(3, REFUSED),
        dictionary=(4, "MILSpec.DictionaryValue"),
    ),
    "MILSpec.Value.BlobFileValue": _plain(fileName=(1, "string"), offset=(2, "uint64")),
    "MILSpec.DictionaryValue": _many(values=(1, "MILSpec.DictionaryValue.KeyValuePair")),
    "MILSpec.DictionaryValue.KeyValuePair": _plain(
        key=(1, "MILSpec.Value"), value=(2, "MILSpec.Value")
    ),
    "MILSpec.TensorValue": _one(
        "value",
        floats=(1, "MILSpec.TensorValue.RepeatedFloats"),
        ints=(2, "MILSpec.TensorValue.RepeatedInts"),
        bools=(3, "MILSpec.TensorValue.RepeatedBools"),
        strings=(4, "MILSpec.TensorValue.RepeatedStrings"),
        longInts=(5, REFUSED),
        doubles=(6, REFUSED),
        bytes=(7, "MILSpec.TensorValue.RepeatedBytes"),
    ),
    "MILSpec.TensorValue.RepeatedFloats": _many(values=(1, "float")),
    "MILSpec.TensorValue.RepeatedInts": _many(values=(1, "int32")),
    "MILSpec.TensorValue.RepeatedBools": _many(values=(1, "bool")),
    "MILSpec.TensorValue.RepeatedStrings": _many(values=(1, "string")),
    "MILSpec.TensorValue.RepeatedBytes": _plain(values=(1, "bytes")),
}

COLUMNS = ("TreeEnsembleParameters.TreeNode",)
"""Messages that come by the ten thousand: read by `registry.flavors.coreml_reference.columns`."""

MESSAGES: Mapping[str, Mapping[int, Field]] = {**MODEL, **TREES, **PROGRAM}

ENUMERATIONS: Mapping[str, Mapping[int, str]] = {
    "ArrayFeatureType.ArrayDataType": {
        0: "INVALID_ARRAY_DATA_TYPE",
        65552: "FLOAT16",
        65568: "FLOAT32",
        65600: "DOUBLE",
        131080: "INT8",
        131104: "INT32",
    },
    "TreeEnsemblePostEvaluationTransform": {
        0: "NoTransform",
        1: "Classification_SoftMax",
        2: "Regression_Logistic",
        3: "Classification_SoftMaxWithZeroClassReference",
    },
    "TreeEnsembleParameters.TreeNode.TreeNodeBehavior": {
        0: "BranchOnValueLessThanEqual",
        1: "BranchOnValueLessThan",
        2: "BranchOnValueGreaterThanEqual",
        3: "BranchOnValueGreaterThan",
        4: "BranchOnValueEqual",
        5: "BranchOnValueNotEqual",
        6: "LeafNode",
    },
    "MILSpec.DataType": {
        0: "UNUSED_TYPE",
        1: "BOOL",
        2: "STRING",
        10: "FLOAT16",
        11: "FLOAT32",
        12: "FLOAT64",
        13: "BFLOAT16",
        21: "INT8",
        22: "INT16",
        23: "INT32",
        24: "INT64",
        25: "INT4",
        31: "UINT8",
        32: "UINT16",
        33: "UINT32",
        34: "UINT64",
        35: "UINT4",
        36: "UINT2",
        37: "UINT1",
        38: "UINT6",
        39: "UINT3",
        40: "FLOAT8E4M3FN",
        41: "FLOAT8E5M2",
    },
}
